//! The contract in each home.

use portcullis::store::ledger;

use crate::contract::keeps;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    let memory = ledger::in_memory().unwrap();
    keeps(&memory, &memory).await;
}
