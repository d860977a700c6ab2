//! What blocks its thread.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Does what blocks, where that may be done, once `turns` has a turn for it. Dropped before it has begun, it is not done; dropped later, it goes on and
/// keeps its turn: what is tried again and again must not take up thread after thread where names are resolved slowly, or a disk does not answer.
pub(crate) async fn blocking<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(io::Error::other)?;
    let mut task = JoinSet::new();
    task.spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    match task.join_next().await {
        Some(done) => done.map_err(io::Error::other)?,
        None => Err(io::Error::other("it was not done")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn what_nobody_waits_for_any_more_does_not_pile_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let ((go, gone), (tell, told)) = (mpsc::channel::<()>(), mpsc::channel());
        let turns = Arc::new(Semaphore::new(100));
        runtime.block_on(async {
            // The only thread is busy until it may go on.
            let first = Arc::clone(&turns);
            let busy = tokio::spawn(async move { blocking(&first, move || Ok(gone.recv())).await });
            tokio::task::yield_now().await;
            for _ in 0..10 {
                let (tell, turns) = (tell.clone(), Arc::clone(&turns));
                let given_up =
                    tokio::spawn(async move { blocking(&turns, move || Ok(tell.send("given up"))).await });
                tokio::task::yield_now().await;
                given_up.abort();
                let _ = given_up.await;
            }
            drop(go);
            let _ = busy.await.unwrap().unwrap();
            blocking(&turns, move || Ok(tell.send("waited for"))).await.unwrap().unwrap();
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["waited for"]);
    }

    #[tokio::test]
    async fn what_hangs_takes_no_more_threads_than_it_may_however_often_it_is_given_up() {
        let ((go, gone), (begin, begun)) = (mpsc::channel::<()>(), mpsc::channel());
        let (turns, gone) = (Arc::new(Semaphore::new(2)), Arc::new(std::sync::Mutex::new(gone)));
        let hangs = || {
            let (begin, gone) = (begin.clone(), Arc::clone(&gone));
            blocking(&turns, move || {
                let _ = begin.send(());
                let _ = gone.lock().map(|gone| gone.recv());
                Ok(())
            })
        };
        let soon = Duration::from_millis(10);
        for _ in 0..10 {
            timeout(soon, hangs()).await.unwrap_err();
        }
        assert_eq!(begun.try_iter().count(), 2);
        drop(go);
        timeout(Duration::from_secs(10), hangs()).await.unwrap().unwrap();
    }
}
