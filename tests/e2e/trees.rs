//! Trees of supervisors and cells: built from inside a cell, and from a program that embeds the node.

use std::time::Duration;

use crate::{
    harness::Ww,
    image::{Image, example},
};

#[expect(dead_code, reason = "its main is for whoever runs the example")]
#[path = "../../examples/supervision.rs"]
mod supervision;

/// Longer than the story takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the image says while its tree is built, works, crashes and is taken down.
const STORY: &str = "the pipeline answers [to the printer: hello world]
the store counts 1
a worker is told to crash: true
it ended with code 134
it was started again: done
it is told to crash again: true
the pool gave up: shutdown
root started everything again: true
the new pool has 0 workers
the new store counts 0
root ended: shutdown
";

#[test]
fn pid0_builds_a_tree_that_works_crashes_and_ends() {
    Ww::run(&example("tree")).end().expect(0, STORY);
}

#[test]
fn grants_of_an_image_bound_what_its_pid0_builds() {
    let image = Image::of("tree");
    let refused = Ww::run(&image.manifest("[grants]\nmail = []\n")).end();
    refused.expect(1, "").expect_stderr(&["wetware:cell/mail/store cannot be handed on"]);
    let image = Image::of("tree");
    let refused = Ww::run(&image.manifest("[grants]\nexecutor = [\"load\"]\n")).end();
    refused.expect(1, "").expect_stderr(&["Executor.supervisor is not granted"]);
    let image = Image::of("tree");
    let refused = Ww::run(&image.manifest("[limits]\nsubtree-cells = 4\n")).end();
    refused.expect(1, "").expect_stderr(&["subtree-cells"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_rust_tells_the_same_story() {
    assert!(example("tree").is_dir());
    let mut told = Vec::new();
    tokio::time::timeout(PATIENCE, supervision::story(&mut told)).await.expect("in time").expect("a story");
    let told = String::from_utf8(told).expect("text");
    for line in STORY.lines().filter(|line| !line.contains("ended with code") && !line.contains("workers")) {
        assert!(told.contains(line), "{line:?} is missing in {told}");
    }
}
