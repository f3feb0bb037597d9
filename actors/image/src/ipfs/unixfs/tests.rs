use super::*;
use crate::fake::dag;

fn read(block: &dag::Block) -> Result<Node, String> {
    decode(block.cid.codec(), &block.data).map_err(|error| error.to_string())
}

#[test]
fn files_have_bytes_and_parts() {
    let leaf = dag::raw(b"leaf");
    let whole = File { inline: leaf.data.clone(), children: vec![], size: 4 };
    assert_eq!(read(&leaf), Ok(Node::File(whole)));
    assert_eq!(read(&dag::file(b"", &[])), Ok(Node::File(File::default())));
    let parts = vec![Part { cid: leaf.cid, size: 4 }, Part { cid: leaf.cid, size: 0 }];
    let file = File { inline: dag::bytes(b"ab"), children: parts, size: 6 };
    assert_eq!(read(&dag::file(b"ab", &[(leaf.cid, 4), (leaf.cid, 0)])), Ok(Node::File(file)));
}

#[test]
fn sizes_may_be_packed_and_fields_unknown() {
    let leaf = dag::raw(b"leaf");
    let mut data = dag::data(dag::FILE, b"", Some(8), &[]);
    dag::field(&mut data, 4, &[4, 4]);
    dag::number(&mut data, 7, 0o644);
    dag::field(&mut data, 8, b"\x08\x01");
    let node = dag::node(&[("", leaf.cid), ("", leaf.cid)], Some(&data));
    assert!(matches!(read(&node), Ok(Node::File(File { size: 8, .. }))));
}

#[test]
fn nodes_that_contradict_themselves_are_refused() {
    let leaf = dag::raw(b"leaf");
    let link = [("", leaf.cid)];
    let mut unpacked = dag::data(dag::FILE, b"", None, &[]);
    dag::field(&mut unpacked, 4, &[0x80]);
    let too_many = dag::data(dag::FILE, b"", None, &[0; MAX_LINKS + 1]);
    let table = [
        (dag::node(&[], None), "no data"),
        (dag::node(&[], Some(b"")), "no type"),
        (dag::node(&[], Some(b"\x0a\x00")), "wrong type"),
        (dag::node(&[], Some(&dag::data(3, b"", None, &[]))), "type 3"),
        (dag::node(&link, Some(&dag::data(dag::FILE, b"", None, &[]))), "one size for each link"),
        (dag::node(&[], Some(&dag::data(dag::FILE, b"", None, &[4]))), "one size for each link"),
        (dag::node(&link, Some(&dag::data(dag::FILE, b"", Some(5), &[4]))), "sum of its parts"),
        (dag::node(&[], Some(&dag::data(dag::FILE, b"abc", Some(4), &[]))), "sum of its parts"),
        (dag::node(&link, Some(&dag::data(dag::FILE, b"a", None, &[u64::MAX]))), "more than any file has"),
        (dag::node(&link, Some(&unpacked)), "cut, too long or padded"),
        (dag::node(&link, Some(&too_many)), "more sizes than a node has links"),
        (dag::node(&[], Some(&dag::data(dag::SHARD, b"", None, &[]))), "hash function"),
        (dag::block(0x71, b"\xa0".to_vec()), "codec is 0x71"),
        (dag::block(DAG_PB, b"\0asm".to_vec()), "no dag-pb node"),
    ];
    for (block, message) in table {
        let error = read(&block).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(read(&dag::node(&[], Some(&dag::data(dag::SYMLINK, b"..", None, &[])))), Ok(Node::Symlink));
}

#[test]
fn names_in_directories_mean_files_in_them() {
    let leaf = dag::raw(b"leaf").cid;
    assert!(
        matches!(read(&dag::directory(&[("a", leaf), ("b", leaf)])), Ok(Node::Directory(links)) if links.len() == 2)
    );
    let long = "a".repeat(256);
    for name in ["", ".", "..", "../etc/passwd", "a/b", "/", "a\0", &long] {
        let error = read(&dag::directory(&[("a", leaf), (name, leaf)])).expect_err(name);
        assert!(error.contains("is not the name of a file"), "{error}");
    }
    let error = read(&dag::directory(&[("a", leaf), ("a", leaf)])).expect_err("an entry twice");
    assert!(error.contains("two entries \"a\""), "{error}");
}
