use super::*;
use crate::fake::dag;

/// Most bytes that these tests read.
const MOST: u64 = 1 << 20;

async fn read(root: &Cid, car: &[u8]) -> Result<Bytes, Invalid> {
    let mut reader = Reader::open(car, u64::MAX).await?;
    super::read(root, &mut reader, MOST).await
}

/// A file of 4 levels, in the order in which daemons send it.
fn tree() -> Vec<Block> {
    let (a, b) = (dag::raw(b"aaaa"), dag::file(b"bb", &[]));
    let low = dag::file(b"", &[(a.cid, 4), (b.cid, 2), (a.cid, 4)]);
    let high = dag::file(b"!", &[(low.cid, 10), (b.cid, 2)]);
    let root = dag::file(b"", &[(high.cid, 13), (low.cid, 10)]);
    vec![root, high, low, a, b]
}

#[tokio::test]
async fn parts_come_together_in_order() {
    let mut blocks = tree();
    let root = blocks[0].cid;
    let whole = b"!aaaabbaaaabbaaaabbaaaa".as_slice();
    assert_eq!(read(&root, &dag::car(&[root], &blocks)).await.expect("a file"), whole);
    // Breadth first, repeated, and with something behind that is never read.
    blocks.swap(3, 4);
    blocks.push(blocks[1].clone());
    blocks.push(dag::raw(b"never read"));
    assert_eq!(read(&root, &dag::car(&[root], &blocks)).await.expect("a file"), whole);
}

#[tokio::test]
async fn only_what_was_asked_for_is_taken() {
    let blocks = tree();
    let (root, other) = (blocks[0].cid, dag::raw(b"other"));
    let stranger = [&blocks[..1], std::slice::from_ref(&other), &blocks[1..]].concat();
    assert!(matches!(read(&root, &dag::car(&[root], &stranger)).await, Err(Invalid::Unasked(cid)) if cid == other.cid));
    let children_first: Vec<_> = blocks.iter().rev().cloned().collect();
    assert!(matches!(read(&root, &dag::car(&[root], &children_first)).await, Err(Invalid::Unasked(_))));
    for roots in [vec![], vec![other.cid], vec![root, other.cid]] {
        assert!(matches!(read(&root, &dag::car(&roots, &blocks)).await, Err(Invalid::Root { .. })));
    }
    for missing in 0..blocks.len() {
        let mut rest = blocks.clone();
        rest.truncate(missing);
        assert!(matches!(read(&root, &dag::car(&[root], &rest)).await, Err(Invalid::Incomplete(_))));
    }
}

#[tokio::test]
async fn sizes_are_what_they_are_said_to_be() {
    let leaf = dag::raw(b"leaf");
    for size in [3, 5] {
        let root = dag::file(b"", &[(leaf.cid, size)]);
        let read = read(&root.cid, &dag::car(&[root.cid], &[root.clone(), leaf.clone()])).await;
        assert!(matches!(read, Err(Invalid::Size { expected, found: 4, .. }) if expected == size));
    }
    let huge = dag::file(b"", &[(leaf.cid, MOST + 1)]);
    let read = read(&huge.cid, &dag::car(&[huge.cid], &[huge.clone(), leaf])).await;
    assert!(matches!(read, Err(Invalid::TooLarge { size, most: MOST }) if size == MOST + 1));
}

#[tokio::test]
async fn bombs_do_not_go_off() {
    // Each level links the one below a hundred times: 100^5 visits of nothing at all.
    let mut blocks = vec![dag::file(b"", &[])];
    for _ in 0..5 {
        let below = blocks[0].cid;
        blocks.insert(0, dag::file(b"", &[(below, 0); 100]));
    }
    let root = blocks[0].cid;
    assert!(matches!(read(&root, &dag::car(&[root], &blocks)).await, Err(Invalid::Blocks)));

    let mut blocks = vec![dag::file(b"x", &[])];
    for _ in 0..MAX_DEPTH {
        let below = blocks[0].cid;
        blocks.insert(0, dag::file(b"", &[(below, 1)]));
    }
    let root = blocks[0].cid;
    assert!(matches!(read(&root, &dag::car(&[root], &blocks)).await, Err(Invalid::Depth)));
    blocks.remove(0);
    let root = blocks[0].cid;
    assert_eq!(read(&root, &dag::car(&[root], &blocks)).await.expect("the deepest file"), "x");
}

#[tokio::test]
async fn parts_are_files_with_hashes_that_can_be_checked() {
    let leaf = dag::raw(b"leaf");
    let directory = dag::directory(&[("a", leaf.cid)]);
    let symlink = dag::node(&[], Some(&dag::data(dag::SYMLINK, b"..", None, &[])));
    for other in [&directory, &symlink] {
        assert!(matches!(
            read(&other.cid, &dag::car(&[other.cid], std::slice::from_ref(other))).await,
            Err(Invalid::NotAFile(_))
        ));
        let root = dag::file(b"", &[(other.cid, 0)]);
        let read = read(&root.cid, &dag::car(&[root.cid], &[root.clone(), other.clone()])).await;
        assert!(matches!(read, Err(Invalid::NotAPart { .. })));
    }
    let strange = dag::block(0x71, b"\xa0".to_vec());
    let cut = Cid::new_v1(RAW, leaf.cid.hash().truncate(8));
    for (cid, message) in [(strange.cid, "codec is 0x71"), (cut, "cannot be verified")] {
        let root = dag::file(b"", &[(cid, 4)]);
        let error = read(&root.cid, &dag::car(&[root.cid], &[root.clone(), strange.clone()])).await.expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn blocks_inside_their_cids_need_not_be_sent() {
    let inline = |codec: u64, data: &[u8]| Cid::new_v1(codec, Multihash::wrap(0, data).expect("short"));
    let leaf = inline(RAW, b"leaf");
    let part = dag::file(b"", &[(leaf, 4)]);
    let root = dag::file(b"", &[(inline(DAG_PB, &part.data), 4), (leaf, 4)]);
    assert_eq!(read(&root.cid, &dag::car(&[root.cid], std::slice::from_ref(&root))).await.expect("a file"), "leafleaf");
}
