//! Processes and their streams over a connection.

use futures::future::{join_all, try_join_all};
use ww_core::Grants;

use crate::fixture::{
    COMPLAIN, ECHO, SPIN, Session, close, local, read, run, session, soon, stderr, stdin, stdout, wait, wanted, wasm,
    write,
};
use ww_schema::{
    cell_capnp::attachment::Errors,
    peer_capnp::{byte_stream, process},
};

async fn start(session: &Session, wat: &str) -> process::Client {
    run(&session.executor(), &wasm(wat), &[], &[]).done().await.expect("a program")
}

async fn all(stream: &byte_stream::Client) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match read(stream, u32::MAX).await.expect("no failure") {
            bytes if bytes.is_empty() => return all,
            bytes => {
                assert!(bytes.len() <= 1 << 20);
                all.extend_from_slice(&bytes);
            }
        }
    }
}

#[test]
fn a_process_is_reached_without_waiting_for_anything_before_it() {
    local(async {
        let session = session(Grants::all()).await;
        // Six calls on answers that nobody has yet: executor, runBytes, stdout, read, stdin, write.
        let process = run(&session.executor(), &wasm(ECHO), &[], &[]).process;
        let answer = read(&stdout(&process), 99);
        let written = write(&stdin(&process), b"hello");
        assert_eq!((answer.await, written.await), (Ok(b"hello".to_vec()), Ok(())));
    });
}

#[test]
fn output_errors_and_the_end_are_there_as_often_as_somebody_asks() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, COMPLAIN).await;
        assert_eq!(try_join_all([wait(&process), wait(&process), wait(&process)]).await, Ok(vec![3, 3, 3]));
        assert_eq!(wait(&process).await, Ok(3), "also after the end");
        let (out, err) = (stdout(&process), stderr(&process));
        assert_eq!(read(&out, 2).await, Ok(b"ou".to_vec()), "never more than was asked for");
        assert_eq!(read(&out, 99).await, Ok(b"t".to_vec()));
        assert_eq!(read(&err, 99).await, Ok(b"oops".to_vec()));
        for _ in 0..3 {
            assert_eq!(read(&out, 99).await, Ok(Vec::new()), "empty at the end");
            assert_eq!(read(&err, 99).await, Ok(Vec::new()), "empty at the end");
        }
        assert_eq!(wait(&process).await, Ok(3));
    });
}

#[test]
fn a_caller_says_what_becomes_of_standard_error() {
    local(async {
        let session = session(Grants::all()).await;
        for (errors, out, err) in
            [(Errors::Tail, "out", "oops"), (Errors::Held, "out", "oops"), (Errors::Merged, "outoops", "")]
        {
            let mut request = session.executor().run_bytes_request();
            request.get().set_wasm(&wasm(COMPLAIN));
            request.get().init_attachment().set_errors(errors);
            let process = request.send().pipeline.get_process();
            let (stdout, stderr) = (stdout(&process), stderr(&process));
            assert_eq!(futures::join!(all(&stdout), all(&stderr)), (out.into(), err.into()), "{errors:?}");
            assert_eq!(wait(&process).await, Ok(3));
        }
    });
}

#[test]
fn a_caller_learns_when_a_program_reads_and_how_much_it_takes() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let (input, output) = (stdin(&process), stdout(&process));
        assert_eq!(futures::join!(wanted(&input), wanted(&input)), (Ok(10_000), Ok(10_000)), "as often as it asks");
        assert_eq!(write(&input, b"hello").await, Ok(()), "a question holds no answer up");
        assert_eq!(read(&output, 99).await, Ok(b"hello".to_vec()));
        assert_eq!(wanted(&input).await, Ok(10_000), "it reads again");
        assert!(wanted(&output).await.is_err(), "that end only reads");
        assert_eq!(close(&input).await, Ok(()));
        assert_eq!(wait(&process).await, Ok(0));
        assert!(wanted(&input).await.is_err(), "nobody reads any more");
    });
}

#[test]
fn exit_codes_of_processes_are_exact() {
    local(async {
        let session = session(Grants::all()).await;
        let trap = r#"(module (memory (export "memory") 1) (func (export "_start") (unreachable)))"#;
        let ok = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
        for (program, code) in [(ok, 0), (COMPLAIN, 3), (trap, 134)] {
            assert_eq!(wait(&start(&session, program).await).await, Ok(code));
        }
    });
}

#[test]
fn calls_on_a_stream_keep_their_order_however_many_are_under_way() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let (input, output) = (stdin(&process), stdout(&process));
        // Several times what the pipes hold.
        let pieces: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 5_000]).collect();
        let reads: Vec<_> = (0..2_000).map(|_| read(&output, 3_000)).collect();
        let writes: Vec<_> = pieces.iter().map(|piece| write(&input, piece)).collect();
        let closed = close(&input);
        let (written, closed, read) = futures::join!(try_join_all(writes), closed, try_join_all(reads));
        assert_eq!((written.map(|all| all.len()), closed), (Ok(100), Ok(())));
        let read = read.expect("no failure");
        assert!(read.iter().all(|bytes| bytes.len() <= 3_000));
        assert!(read.concat() == pieces.concat(), "{} bytes", read.concat().len());
        assert_eq!(read.last(), Some(&Vec::new()), "the end comes last");
        assert_eq!(wait(&process).await, Ok(0));
    });
}

#[test]
fn bulk_data_flows_with_push() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let (input, output) = (stdin(&process), stdout(&process));
        let sent: Vec<u8> = (0..500_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let pushing = async {
            for piece in sent.chunks(10_000) {
                let mut request = input.push_request();
                request.get().set_data(piece);
                soon(request.send()).await.expect("the cell reads");
            }
            close(&input).await.expect("open");
        };
        let ((), received) = futures::join!(pushing, all(&output));
        assert!(received == sent, "{} bytes", received.len());
    });
}

#[test]
fn a_read_has_at_most_a_mebibyte_and_at_least_a_byte() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let output = stdout(&process);
        let error = read(&output, 0).await.expect_err("nothing was asked for");
        assert!(error.extra.contains("maxBytes is 0"), "{error:?}");
        write(&stdin(&process), &[7; 30_000]).await.expect("open");
        assert_eq!(read(&output, 1).await, Ok(vec![7]));
        let most = read(&output, u32::MAX).await.expect("no failure").len();
        assert!((1..=1 << 20).contains(&most));
    });
}

#[test]
fn each_end_does_what_it_can_and_says_what_it_cannot() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let (input, output, errors) = (stdin(&process), stdout(&process), stderr(&process));
        let error = read(&input, 9).await.expect_err("stdin is written");
        assert!(error.extra.contains("only writes"), "{error:?}");
        for end in [&output, &errors] {
            let error = write(end, b"x").await.expect_err("it is read");
            assert!(error.extra.contains("only reads"), "{error:?}");
        }
        close(&errors).await.expect("holds nobody up");
        close(&input).await.expect("open");
        close(&input).await.expect("closed twice is closed");
        let error = write(&input, b"x").await.expect_err("it is closed");
        assert!(error.extra.contains("closed"), "{error:?}");
        assert_eq!(wait(&process).await, Ok(0));
        assert_eq!(read(&output, 9).await, Ok(Vec::new()));
    });
}

#[test]
fn a_program_whose_output_is_closed_goes_on() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        close(&stdout(&process)).await.expect("open");
        // More than the pipes hold: nobody waits for a reader that is gone.
        let input = stdin(&process);
        for _ in 0..20 {
            write(&input, &[0; 10_000]).await.expect("the cell reads");
        }
        close(&input).await.expect("open");
        assert_eq!(wait(&process).await, Ok(0));
    });
}

#[test]
fn a_process_lives_as_long_as_somebody_holds_it_or_one_of_its_streams() {
    local(async {
        // A child at a time, so that a second one starts only when the first has ended.
        let limits = ww_core::Limits { children: 1, ..ww_core::Limits::default() };
        let session = crate::fixture::limited_session(Grants::all(), limits).await;
        let executor = session.executor();
        let refused = || async {
            let error = run(&executor, &wasm(SPIN), &[], &[]).done().await.map(drop).expect_err("one lives");
            assert!(error.extra.contains("children"), "{error:?}");
        };
        let process = start(&session, SPIN).await;
        let output = {
            let answer = soon(process.stdout_request().send().promise).await.expect("an answer");
            answer.get().and_then(|answer| answer.get_stream()).expect("a stream")
        };
        drop(process);
        refused().await;
        let pending = read(&output, 9);
        drop(output);
        refused().await;
        drop(pending);
        // Its end takes as long as it takes.
        soon(async {
            while run(&executor, &wasm(ECHO), &[], &[]).done().await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn calls_that_are_given_up_harm_nobody() {
    local(async {
        let session = session(Grants::all()).await;
        let process = start(&session, ECHO).await;
        let (output, errors) = (stdout(&process), stderr(&process));
        // Bytes may be lost with a read that is given up: none are under way here.
        drop(join_all([wait(&process), wait(&process)]));
        drop(read(&errors, 9));
        write(&stdin(&process), b"hello").await.expect("open");
        assert_eq!(read(&output, 99).await, Ok(b"hello".to_vec()));
        close(&stdin(&process)).await.expect("open");
        assert_eq!(wait(&process).await, Ok(0));
        assert_eq!(read(&errors, 9).await, Ok(Vec::new()));
    });
}
