//! What the metrics are called, and what is said of them.

use metrics::Unit;

/// Its name, unit and description.
struct Name {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
}

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! names {
    ($($kind:ident $unit:ident $const:ident = $name:literal, $help:literal;)*) => {
        $(pub(super) const $const: &str = $name;)*
        const ALL: &[Name] =
            &[$(Name { name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help }),*];
    };
}

names! {
    Counter Count OPERATIONS = "registry_operations_total",
        "Operations on the registry that ended, by outcome: ok, the kind of error, or dropped by the caller.";
    Histogram Seconds OPERATION_SECONDS = "registry_operation_duration_seconds",
        "How long operations on the registry took, whatever their outcome, unless they were dropped.";
    Gauge Count OPERATIONS_IN_FLIGHT = "registry_operations_in_flight",
        "Operations on the registry that wait for their answer.";
    Counter Count MALFORMED = "registry_malformed_entries_total",
        "Entries that could not be read and were left out, counted anew by every lookup and every reset.";
    Gauge Count WATCHES = "registry_watches", "Watches that are open.";
    Gauge Count WATCHES_STALE = "registry_watches_stale", "Watches that are open and not current.";
    Histogram Seconds WATCH_STALE_SECONDS = "registry_watch_stale_seconds",
        "How long watches that are current again were not, from when they were last known to be.";
    Counter Count WATCH_RESETS = "registry_watch_resets_total",
        "Lists that watches loaded anew, by cause; the first one of each included.";
    Counter Count WATCH_CHANGES = "registry_watch_changes_total",
        "Changes that watches told: put, deregistered, expired, or gone where the registry cannot tell why.";
    Gauge Seconds VIEW_AGE = "registry_view_age_seconds",
        "How long ago the view was last proven current. Below 14 while the registry can be reached.";
    Gauge Count VIEW_INSTANCES = "registry_view_instances", "Instances in the view.";
    Gauge Count VIEW_HELD = "registry_view_held_instances",
        "Instances that the view holds although the registry does not list them any more.";
    Gauge Count VIEW_MALFORMED = "registry_view_malformed_entries",
        "Entries that could not be read when the view was last loaded.";
    Counter Count VIEW_RESETS = "registry_view_resets_total",
        "Lists that the view loaded anew, by cause; the first one included.";
    Counter Count VIEW_HOLDS = "registry_view_holds_total",
        "Instances that the guard of the view began to hold (begun), and what became of them: back or given up by their owners (ended), gone after three TTLs (expired), or released. Premature are those of the expired that came back: they had been alive.";
    Counter Count VIEW_DISK = "registry_view_disk_total",
        "Views written to disk (saved), not written (failed), and found there but not used (rejected): damaged, foreign or too old.";
    Gauge Count REGISTRARS = "registry_registrars", "Registrars, by their present state.";
    Counter Count REGISTRAR_TRANSITIONS = "registry_registrar_transitions_total",
        "How often registrars came into a state.";
}

/// Tells the recorder about all of them.
pub(super) fn describe() {
    for Name { name, kind, unit, help } in ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *unit, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *unit, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *unit, *help),
        }
    }
}
