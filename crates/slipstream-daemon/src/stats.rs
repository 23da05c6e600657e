use crate::locks::lock;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What the daemon has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Modules run from tickets.
    pub(crate) tickets: Counter,
    /// Closures found in the cache.
    pub(crate) closure_hits: Counter,
    /// Closures that the controller had to compute.
    pub(crate) closure_misses: Counter,
    /// Tasks that stock Ansible ran, by reason.
    stock: Mutex<BTreeMap<String, u64>>,
}

impl Stats {
    /// More reasons than that are a client gone wrong.
    const REASONS: usize = 100;

    pub(crate) fn count_stock(&self, reason: String) {
        let mut stock = lock(&self.stock);
        if stock.len() < Self::REASONS || stock.contains_key(&reason) {
            *stock.entry(reason).or_default() += 1;
        }
    }

    pub(crate) fn stock(&self) -> BTreeMap<String, u64> {
        lock(&self.stock).clone()
    }
}
