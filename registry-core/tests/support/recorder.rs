//! A recorder whose metrics a test can read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Metrics by name and labels, as `name{a=b,c=d}` with labels in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    counters: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    gauges: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    histograms: Arc<Mutex<BTreeMap<String, Arc<Samples>>>>,
    described: Arc<Mutex<BTreeMap<String, String>>>,
}

#[derive(Debug, Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

#[allow(dead_code, reason = "not every test reads everything")]
impl Recorded {
    /// The value of a counter; 0 for one that was never heard of.
    pub(crate) fn counter(&self, key: &str) -> u64 {
        self.counters.lock().unwrap().get(key).map_or(0, |counter| counter.load(Ordering::SeqCst))
    }

    /// The value of a gauge; for one that was never heard of no number, which equals nothing.
    pub(crate) fn gauge(&self, key: &str) -> f64 {
        let value = |gauge: &Arc<AtomicU64>| f64::from_bits(gauge.load(Ordering::SeqCst));
        self.gauges.lock().unwrap().get(key).map_or(f64::NAN, value)
    }

    /// What a histogram was told, which must be there.
    pub(crate) fn samples(&self, key: &str) -> Vec<f64> {
        let histograms = self.histograms.lock().unwrap();
        let samples = histograms.get(key).unwrap_or_else(|| panic!("{key} in {histograms:?}"));
        samples.0.lock().unwrap().clone()
    }

    /// Names and labels of all that is not a histogram.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys =
            |of: &Mutex<BTreeMap<String, Arc<AtomicU64>>>| of.lock().unwrap().keys().cloned().collect();
        let (counters, gauges): (Vec<_>, Vec<_>) = (keys(&self.counters), keys(&self.gauges));
        [counters, gauges].concat()
    }

    /// Whether there is a description of each metric.
    pub(crate) fn all_are_described(&self) -> bool {
        let described = self.described.lock().unwrap();
        self.keys().iter().all(|key| described.contains_key(key.split('{').next().unwrap_or_default()))
    }

    fn describe(&self, name: &KeyName, description: &SharedString) {
        self.described.lock().unwrap().insert(name.as_str().to_owned(), description.as_ref().to_owned());
    }
}

fn text(key: &Key) -> String {
    let mut labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    labels.sort();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

fn handle<T: Default>(of: &Mutex<BTreeMap<String, Arc<T>>>, key: &Key) -> Arc<T> {
    Arc::clone(of.lock().unwrap_or_else(PoisonError::into_inner).entry(text(key)).or_default())
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(handle(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(handle(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(handle(&self.histograms, key))
    }
}
