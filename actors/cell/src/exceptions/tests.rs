use super::*;
use crate::{
    engine::HEAP,
    fixture::{module, start, wasm},
};
use ww_core::{
    Limits,
    exit::{Limit, Reason},
};

/// A program whose `_start` is this, with a tag and a table beside it.
fn program(body: &str) -> String {
    module("(tag $t (param i32))", body)
}

async fn end_of(text: &str, limits: Limits) -> Reason {
    let ends = start(&crate::fixture::runtime(), text, limits).await;
    ends.cell.exit().wait().await
}

#[tokio::test]
async fn what_is_thrown_is_caught_and_what_is_not_caught_is_told() {
    let caught = program(
        "(block $caught (result i32)
            (try_table (catch $t $caught) (throw $t (i32.const 7)))
            unreachable)
        (if (i32.ne (i32.const 7)) (then unreachable))",
    );
    // In either class, whose memory the cell has.
    for memory in [1 << 20, 2 << 20] {
        assert_eq!(end_of(&caught, Limits { memory, ..Limits::default() }).await, Reason::Normal);
    }
    let Reason::Trap(trap) = end_of(&program("(throw $t (i32.const 7))"), Limits::default()).await else {
        panic!("expected a trap")
    };
    assert_eq!(trap.kind, "uncaught-exception");
}

/// As many as one likes, one after the other, and as many at once as the heap holds. The heap is memory of the cell.
#[tokio::test]
async fn exceptions_are_collected_and_their_heap_counts_as_memory() {
    let many = program(
        "(local $left i32) (local.set $left (i32.const 20000))
        (loop $more
            (block $caught (result i32) (try_table (catch $t $caught) (throw $t (i32.const 7))) unreachable)
            drop
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
    );
    let page = 64 << 10;
    assert_eq!(end_of(&many, Limits { memory: page + HEAP, ..Limits::default() }).await, Reason::Normal);
    let less = Limits { memory: page + HEAP - 1, ..Limits::default() };
    assert_eq!(end_of(&many, less).await, Reason::Limit(Limit::Memory));
    // A memory that grows is none of that: not without a maximum, and not with the one that the heap has.
    for maximum in ["", "65536"] {
        let growing = format!(
            r#"(module (tag $t) (memory (export "memory") 1 {maximum})
            (func (export "_start")
                (block $b (try_table (catch_all $b) (throw $t)))
                (loop $more
                    (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                    (br_if $more (i32.lt_u (memory.size) (i32.const 32))))))"#
        );
        assert_eq!(end_of(&growing, Limits { memory: 32 * page + HEAP, ..Limits::default() }).await, Reason::Normal);
    }
    let deep = |depth: usize| {
        format!(
            r#"(module (tag $t (param i32)) (memory (export "memory") 1)
            (func $new (result exnref)
                (block $caught (result i32 exnref)
                    (try_table (catch_ref $t $caught) (throw $t (i32.const 7))) unreachable)
                (return))
            (func $deeper (param $left i32) (local $a exnref) (local $b exnref) (local $c exnref)
                (local.set $a (call $new)) (local.set $b (call $new)) (local.set $c (call $new))
                (if (local.get $left) (then (call $deeper (i32.sub (local.get $left) (i32.const 1)))))
                (if (ref.is_null (local.get $a)) (then (throw_ref (local.get $b))))
                (throw_ref (local.get $c)))
            (func (export "_start") (block $out (try_table (catch_all $out) (call $deeper (i32.const {depth}))))))"#
        )
    };
    assert_eq!(end_of(&deep(1_000), Limits::default()).await, Reason::Normal);
    assert_eq!(end_of(&deep(3_000), Limits::default()).await, Reason::Limit(Limit::Resources));
}

/// A chain of exceptions, each with a reference to the one before, goes as it came.
#[tokio::test]
async fn an_exception_may_hold_another() {
    let chain = module(
        "(tag $link (param exnref)) (global $last (mut exnref) (ref.null exn))",
        "(local $left i32) (local.set $left (i32.const 1000))
        (loop $more
            (block $caught (result exnref exnref)
                (try_table (catch_ref $link $caught) (throw $link (global.get $last))) unreachable)
            (global.set $last) drop
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (global.set $last (ref.null exn))
        (local.set $left (i32.const 20000))
        (loop $more
            (block $b (try_table (catch_all $b) (throw $link (ref.null exn))))
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
    );
    assert_eq!(end_of(&chain, Limits::default()).await, Reason::Normal);
}

#[tokio::test]
async fn a_loop_of_exceptions_is_interrupted() {
    let forever = program("(loop $more (block $b (try_table (catch_all $b) (throw $t (i32.const 7)))) (br $more))");
    let cpu = Some(std::time::Duration::from_millis(20));
    assert_eq!(end_of(&forever, Limits { cpu, ..Limits::default() }).await, Reason::Limit(Limit::Cpu));
}

#[test]
fn tables_hold_no_exceptions_and_clauses_are_bounded() {
    let clauses = |levels: usize, catches: &str| {
        let (open, close) = (format!("(try_table {catches} ").repeat(levels), ")".repeat(levels));
        format!("(module (tag $t) (func (block $out {open} (throw $t) {close})))")
    };
    for text in [
        "(module (tag (param i32 exnref)) (func (local exnref)) (table 1 funcref) (global exnref (ref.null exn)))",
        "(module (type $f (func)) (tag) (table 1 (ref null $f)) (elem (ref null $f) (ref.null $f)))",
        &clauses(MAX_COMPARED, "(catch $t $out)"),
        &clauses(1, &"(catch $t $out)".repeat(MAX_COMPARED)),
        &clauses(MAX_CLAUSES / 2, "(catch $t $out) (catch_all $out)"),
    ] {
        assert!(check(&wasm(text)).is_ok(), "{text}");
    }
    for (text, why) in [
        ("(module (table 1 exnref))", "a table holds"),
        ("(component (core module (table 1 (ref null noexn))))", "a table holds"),
        (r#"(module (import "a" "b" (table 1 exnref)))"#, "a table holds"),
        ("(module (elem exnref (ref.null exn)))", "a table holds"),
        (&clauses(MAX_COMPARED + 1, "(catch $t $out)"), "by their tags"),
        (&clauses(1, &"(catch $t $out)".repeat(MAX_COMPARED + 1)), "by their tags"),
        (&clauses(MAX_CLAUSES / 2 + 1, "(catch $t $out) (catch_all $out)"), "512 clauses"),
    ] {
        match check(&wasm(text)) {
            Err(LoadError::TooComplex(found)) => assert!(found.contains(why), "{text}: {found}"),
            other => panic!("{text}: expected a limit, found {other:?}"),
        }
    }
}
