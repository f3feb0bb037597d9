use super::*;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A section, whose length is at most five bytes of LEB128.
fn section(id: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    let mut len = body.len();
    while len >= 0x80 {
        section.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    section.push(len as u8);
    section.extend(body);
    section
}

/// A component around another that it instantiates so many times.
fn around(within: &[u8], times: u8) -> Vec<u8> {
    let mut instances = vec![times];
    instances.extend([0, 0, 0].repeat(times.into()));
    [COMPONENT, &section(4, within), &section(5, &instances)].concat()
}

fn nested(depth: usize, times: u8) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |within, _| around(&within, times))
}

fn types(depth: usize) -> Vec<u8> {
    let mut body = vec![1];
    body.extend([COMPONENT_TYPE, 1, DECLARED_TYPE].repeat(depth));
    body.extend([COMPONENT_TYPE, 0]);
    [COMPONENT, &section(7, &body)].concat()
}

fn too_complex(wasm: &[u8], named: &str) {
    match check(wasm, Functions::Any) {
        Err(LoadError::TooComplex(why)) => assert!(why.contains(named), "{why}"),
        other => panic!("expected a limit, found {other:?}"),
    }
}

#[test]
fn components_nest_as_deep_as_compositions_do_and_no_deeper() {
    check(&nested(MAX_DEPTH, 1), Functions::Any).expect("deep enough for all");
    too_complex(&nested(MAX_DEPTH + 1, 1), "16 deep");
    too_complex(&nested(6_000, 1), "16 deep");
}

#[test]
fn instances_are_counted_as_often_as_they_are_made() {
    check(&nested(10, 2), Functions::Any).expect("some 2,000 instances");
    too_complex(&nested(12, 2), "4096 instances");
    // 10^16 of them, in 600 bytes.
    too_complex(&nested(16, 10), "4096 instances");
}

#[test]
fn types_nest_as_deep_as_interfaces_do_and_no_deeper() {
    check(&types(MAX_TYPE_DEPTH - 1), Functions::Any).expect("deep enough for all");
    too_complex(&types(MAX_TYPE_DEPTH), "32 deep");
    // A parser that called itself for each of them would take 100 MB of stack.
    too_complex(&types(200_000), "32 deep");
}

#[test]
fn aliases_and_exports_of_components_are_followed_and_what_cannot_be_is_refused() {
    let parse = |wat: &str| wat::parse_str(wat).expect("valid text");
    let twice = parse(
        r#"(component
            (component $a (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))
            (component $b (alias outer 1 $a (component $c)) (instance (instantiate $c)) (export "c" (component $c)))
            (instance (instantiate $b)))"#,
    );
    check(&twice, Functions::Any).expect("few instances");
    let imported = parse(r#"(component (import "c" (component $c)) (instance (instantiate $c)))"#);
    too_complex(&imported, "imports a component");
    let taken = parse(
        r#"(component
            (component $a (component $b) (export "b" (component $b)))
            (instance $i (instantiate $a))
            (alias export $i "b" (component $c))
            (instance (instantiate $c)))"#,
    );
    too_complex(&taken, "takes one from an instance");
    let unknown = [COMPONENT, &section(5, &[1, 0, 9, 0])].concat();
    assert!(matches!(check(&unknown, Functions::Any), Err(LoadError::Invalid(_))));
}

#[test]
fn functions_are_looked_at_where_their_compilation_is_not_bounded() {
    let function = |variables: usize, loops: usize| {
        let (locals, set) = ("(local i32)".repeat(variables), variables - 1);
        let (open, close) = ("loop ".repeat(loops), "end ".repeat(loops));
        format!("(func {locals} {open} i32.const 1 local.set {set} {close})")
    };
    let parse = |functions: &str| wat::parse_str(format!("(module {functions})")).expect("valid text");
    let bomb = |variables, loops| parse(&function(variables, loops));
    check(&bomb(200, 100), Functions::Modest).expect("as large as honest ones");
    let hostile = bomb(5_000, 200);
    let refused = check(&hostile, Functions::Modest);
    assert!(matches!(&refused, Err(LoadError::TooComplex(why)) if why.contains("5000 variables")), "{refused:?}");
    check(&hostile, Functions::Any).expect("bounded by the process");
    let refused = check(&parse(&function(200, 100).repeat(3)), Functions::Modest);
    assert!(matches!(&refused, Err(LoadError::TooComplex(why)) if why.contains("its functions")), "{refused:?}");
    let long = wat::parse_str(format!("(module (func {}))", "nop ".repeat(MAX_FUNCTION + 1))).expect("valid");
    assert!(matches!(check(&long, Functions::Modest), Err(LoadError::TooComplex(_))));
}
