//! Calls from many callers at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

/// Callers that call one time after the other, each as often as it is answered, until they are told
/// to end.
#[derive(Debug)]
pub struct Load<T> {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    callers: JoinSet<Vec<T>>,
}

impl<T: Send + 'static> Load<T> {
    /// `callers` that do `call`.
    pub fn start<F>(callers: usize, call: impl Fn() -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let caller = || {
            let (call, stop, answers) = (call.clone(), Arc::clone(&stop), Arc::clone(&answers));
            async move {
                let mut answered = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    answered.push(call().await);
                    answers.fetch_add(1, Ordering::SeqCst);
                    // Answers that need no waiting do not yield by themselves.
                    tokio::task::yield_now().await;
                }
                answered
            }
        };
        Self {
            callers: (0..callers).map(|_| caller()).collect(),
            stop,
            answers,
        }
    }

    /// Answers so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// All that was answered.
    pub async fn end(self) -> Vec<T> {
        self.stop.store(true, Ordering::SeqCst);
        let answered = self.callers.join_all().await;
        answered.into_iter().flatten().collect()
    }
}
