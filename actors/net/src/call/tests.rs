use std::{collections::BTreeMap, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use ww_core::{CellId, Name};

use super::{
    frames::{Decoder, Step},
    trailer::Trailer,
    *,
};

const PROTOCOL: &str = include_str!("../../../../docs/protocol.md");

/// The vectors of one block of the document.
fn vectors(block: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let (_, rest) = PROTOCOL.split_once(&format!("```{block}\n")).expect("the document has the block");
    let (lines, _) = rest.split_once("```").expect("the block has an end");
    let vector = |line: &'static str| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a line begins with a name");
        (name, words.map(|byte| u8::from_str_radix(byte, 16).expect("bytes in hex")).collect())
    };
    lines.lines().map(vector).collect()
}

fn echo() -> Header {
    Header {
        target: Target::Name(Name::new("echo").unwrap()),
        remaining: Some(Duration::from_secs(30)),
        trace: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        message: 7,
    }
}

fn decode<T: Trailer>(bytes: &[u8]) -> Result<(Vec<u8>, Option<T>), Malformed> {
    let (mut decoder, mut body, mut start) = (Decoder::new(), Vec::new(), 0);
    loop {
        match decoder.decode(&bytes[start..])? {
            Some(Step::Data(at)) => {
                body.extend_from_slice(&bytes[start..][at.clone()]);
                start += at.end;
            }
            Some(Step::End(trailer, used)) => {
                assert_eq!(start + used, bytes.len(), "nothing follows");
                return Ok((body, Some(trailer)));
            }
            None => return Ok((body, None)),
        }
    }
}

fn encode(frames: &[&str], trailer: &impl Trailer) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| super::frames::encode(frame.as_bytes(), &mut bytes));
    super::frames::encode_end(trailer, &mut bytes);
    bytes
}

#[test]
fn requests_are_as_documented() {
    let by_id = Header { target: Target::Cell(CellId::new(258)), remaining: None, trace: 0, message: u64::MAX };
    let table: [(&str, Header, &[&str], Ending); 5] = [
        ("request-by-name", echo(), &["hello"], Ending::Whole),
        ("request-by-id", by_id, &[], Ending::Whole),
        ("request-aborted", echo(), &["he"], Ending::Aborted),
        ("request-two-frames", echo(), &["he", "llo"], Ending::Whole),
        ("request-later-field", echo(), &["hello"], Ending::Whole),
    ];
    let mut vectors = vectors("vectors");
    vectors.retain(|name, _| name.starts_with("request-"));
    assert_eq!(vectors.len(), table.len());
    for (name, header, frames, ending) in table {
        let (found, used) = Header::decode(&vectors[name]).unwrap().unwrap();
        assert_eq!(found, header, "{name}");
        assert_eq!(decode(&vectors[name][used..]), Ok((frames.concat().into_bytes(), Some(ending))), "{name}");
        if name != "request-later-field" {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            bytes.extend(encode(frames, &ending));
            assert_eq!(bytes, vectors[name], "{name}");
        }
        for len in 0..used {
            assert_eq!(Header::decode(&vectors[name][..len]), Ok(None), "{name}, {len} bytes");
        }
        for len in used..vectors[name].len() {
            let (_, trailer) = decode::<Ending>(&vectors[name][used..len]).unwrap();
            assert_eq!(trailer, None, "{name}, {len} bytes");
        }
    }
}

#[test]
fn replies_are_as_documented() {
    let refused = |reason, text: &str| Status::Refused { reason, text: text.into() };
    let exit = Status::Exit { code: 134, reason: "trap(unreachable)".into() };
    let table: [(&str, &[&str], Status); 12] = [
        ("reply-ok", &["HELLO"], Status::Ok),
        ("reply-guest-error", &["HE"], Status::Guest("no ä!".into())),
        ("reply-exit", &[], exit),
        ("reply-busy", &[], refused(Reason::Busy, "")),
        ("reply-denied", &[], refused(Reason::Denied, "")),
        ("reply-timeout", &[], refused(Reason::Timeout, "")),
        ("reply-no-such-cell", &[], refused(Reason::NoSuchCell, "")),
        ("reply-deadlock", &[], refused(Reason::Deadlock, "")),
        ("reply-too-large", &[], refused(Reason::TooLarge, "")),
        ("reply-malformed", &[], refused(Reason::Malformed, "")),
        ("reply-shutdown", &[], refused(Reason::Shutdown, "")),
        ("reply-later-reason", &[], refused(Reason::Other(200), "?")),
    ];
    let mut vectors = vectors("vectors");
    vectors.retain(|name, _| name.starts_with("reply-"));
    assert_eq!(vectors.len(), table.len());
    for (name, frames, status) in table {
        assert_eq!(encode(frames, &status), vectors[name], "{name}");
        assert_eq!(decode(&vectors[name]), Ok((frames.concat().into_bytes(), Some(status))), "{name}");
        for len in 0..vectors[name].len() {
            let (_, status) = decode::<Status>(&vectors[name][..len]).unwrap();
            assert_eq!(status, None, "{name}, {len} bytes");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused_on_the_stream() {
    for (name, bytes) in vectors("malformed") {
        let in_header = match Header::decode(&bytes) {
            Err(_) => true,
            Ok(header) => {
                let (_, used) = header.unwrap();
                assert!(decode::<Ending>(&bytes[used..]).is_err(), "{name}");
                false
            }
        };
        let (mut caller, node) = duplex(1 << 12);
        caller.write_all(&bytes).await.unwrap();
        let accepted = accept(node).await;
        if in_header {
            assert!(matches!(accepted, Err(ReadError::Malformed(_))), "{name}");
            let mut reply = Vec::new();
            caller.read_to_end(&mut reply).await.unwrap();
            let (_, status) = decode::<Status>(&reply).unwrap();
            assert!(matches!(status, Some(Status::Refused { reason: Reason::Malformed, .. })), "{name}: {status:?}");
        } else {
            let mut accepted = accepted.unwrap();
            assert!(matches!(accepted.body.read().await, Err(ReadError::Malformed(_))), "{name}");
        }
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut bytes = Vec::new();
    Status::Guest("ä".repeat(MAX_TEXT)).encode(&mut bytes);
    let (status, _) = Status::decode(&bytes).unwrap().unwrap();
    assert_eq!(status, Status::Guest("ä".repeat(MAX_TEXT / 2)));
    bytes.clear();
    Status::Guest(format!("a{}", "ä".repeat(MAX_TEXT))).encode(&mut bytes);
    let (status, _) = Status::decode(&bytes).unwrap().unwrap();
    assert_eq!(status, Status::Guest(format!("a{}", "ä".repeat(MAX_TEXT / 2 - 1))));
}

async fn whole<R: tokio::io::AsyncRead + Unpin, T: Trailer>(
    reader: &mut Reader<R, T>,
) -> Result<(Vec<u8>, T), ReadError> {
    let mut body = Vec::new();
    loop {
        match reader.read().await? {
            Part::Data(data) => body.extend_from_slice(data),
            Part::End(trailer) => return Ok((body, trailer)),
        }
    }
}

#[tokio::test]
async fn a_call_goes_there_and_back() {
    let (caller, node) = duplex(1_000);
    let long: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let serve = async {
        let Accepted { header, mut body, mut reply } = accept(node).await.unwrap();
        assert_eq!(header, echo());
        let mut last = Vec::new();
        while let Part::Data(data) = body.read().await.unwrap() {
            reply.write(&last).await.unwrap();
            data.clone_into(&mut last);
        }
        assert_eq!(body.read().await.unwrap(), Part::End(Ending::Whole));
        assert!(!last.is_empty());
        reply.finish_with(&last, Status::Ok).await.unwrap();
    };
    let Asked { mut body, mut reply } = ask(caller, &echo());
    let send = async {
        body.write(&long).await.unwrap();
        body.finish(Ending::Whole).await.unwrap();
    };
    let ((), (), replied) = tokio::join!(serve, send, whole(&mut reply));
    assert!(replied.unwrap() == (long.clone(), Status::Ok));
}

#[tokio::test]
async fn what_is_torn_is_an_error_and_never_an_end() {
    let (caller, node) = duplex(1 << 12);
    let Asked { mut body, mut reply } = ask(caller, &echo());
    body.write(b"half").await.unwrap();
    let mut accepted = accept(node).await.unwrap();
    accepted.reply.write(b"half a reply").await.unwrap();
    assert_eq!(accepted.body.read().await.unwrap(), Part::Data(b"half"));
    body.finish(Ending::Aborted).await.unwrap();
    assert_eq!(accepted.body.read().await.unwrap(), Part::End(Ending::Aborted));
    drop(accepted);
    assert_eq!(reply.read().await.unwrap(), Part::Data(b"half a reply"));
    assert!(matches!(reply.read().await, Err(ReadError::Torn)));

    let (caller, node) = duplex(1 << 12);
    drop(caller);
    assert!(matches!(accept(node).await, Err(ReadError::Torn)));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let (mut caller, node) = duplex(16);
    caller.write_all(&[1]).await.unwrap();
    assert!(matches!(accept(node).await, Err(ReadError::Timeout)));

    let (caller, _node) = duplex(16);
    let Asked { mut body, mut reply } = ask(caller, &Header { remaining: None, ..echo() });
    assert!(matches!(body.write(b"nobody reads this").await, Err(WriteError::Timeout)));
    assert!(matches!(body.write(b"nor this").await, Err(WriteError::Unfinished)));
    assert!(matches!(reply.read().await, Err(ReadError::Timeout)));
}
