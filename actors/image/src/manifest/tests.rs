use ww_core::supervisor::Restart;

use super::*;

const EVERYTHING: &str = r#"
[cell]
name = "echo"
async = true
publish = true
allow = ["one", "other"]
mailbox = 3
overflow = "drop-oldest"
restart = "transient"

[limits]
memory = "64MiB"
subtree-memory = 268435456
deadline = "30s"
cpu = 500
children = 8
subtree-cells = 64
message-size = "1MiB"
instances = 16
held = "64MiB"

[env]
GREETING = "hello"
"with space" = ""

[grants]
host = ["id", "addrs", "peers", "connect", "executor", "dial", "grant", "registry", "nodes", "narrow"]
executor = ["runBytes"]
loader = false
mail = ["store"]
self = true
registry = false
process = ["clock"]
log = true
publish = false
"#;

#[test]
fn every_key_is_read() {
    let manifest = Manifest::parse(EVERYTHING).expect("a manifest");
    let cell = Cell {
        name: Some(Name::new("echo").expect("a name")),
        async_mode: true,
        publish: true,
        allow: vec!["one".to_owned(), "other".to_owned()],
        mailbox: NonZeroU32::new(3),
        overflow: Some(Overflow::DropOldest),
        restart: Some(Restart::Transient),
    };
    assert_eq!(manifest.cell, cell);
    let limits = Narrowing {
        memory: Some(64 << 20),
        deadline: Some(30_000),
        cpu: Some(500),
        children: Some(8),
        subtree_cells: Some(64),
        subtree_memory: Some(256 << 20),
        message_size: Some(1 << 20),
        instances: Some(16),
        held: Some(64 << 20),
    };
    assert_eq!(manifest.limits, limits);
    let env = [("GREETING", "hello"), ("with space", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(manifest.env, env.into());
    let grants = Grants {
        host: HostMethod::ALL.into(),
        executor: [ExecutorMethod::RunBytes].into(),
        loader: false,
        mail: Reach::Names([Name::new("store").expect("a name")].into()),
        identity: true,
        registry: false,
        process: Some(Reach::Names([Name::new("clock").expect("a name")].into())),
        log: true,
        publish: false,
    };
    assert_eq!(manifest.grants(), grants);
}

#[test]
fn what_is_left_out_keeps_its_default() {
    for text in ["", "# nothing\n", "[cell]\n[limits]\n[env]\n[grants]\n"] {
        let manifest = Manifest::parse(text).expect("a manifest");
        assert_eq!(manifest, Manifest::default());
        assert_eq!(manifest.grants(), Grants::all());
    }
    let manifest = Manifest::parse("[grants]\nhost = []\n").expect("a manifest");
    assert_eq!(manifest.grants(), Grants { host: BTreeSet::new(), ..Grants::all() });
}

#[test]
fn links_and_signals_are_granted_below_for_names_besides_or_not_at_all() {
    let clock = Name::new("clock").expect("a name");
    for (value, process) in [
        ("true", Some(Reach::Nobody)),
        ("false", None),
        ("[]", Some(Reach::Names(BTreeSet::new()))),
        ("['clock']", Some(Reach::Names([clock].into()))),
    ] {
        let manifest = Manifest::parse(&format!("[grants]\nprocess = {value}\n")).expect("a manifest");
        assert_eq!(manifest.grants(), Grants { process, ..Grants::all() }, "{value}");
    }
}

#[test]
fn an_error_says_where_and_what_would_have_been_right() {
    let table = [
        (
            "[cell]\nmailbx = 3",
            2,
            "unknown key `mailbx`, expected one of `name`, `async`, `publish`, `allow`, `mailbox`",
        ),
        ("[cell]\nmailbox = 0", 2, "nonzero"),
        ("[cell]\n\noverflow = 'lose'", 3, "unknown variant `lose`, expected one of `wait`, `reject`, `drop-oldest`"),
        ("[cell]\nallow = 'me'", 2, "expected a sequence"),
        ("[limits]\ninstances = 0", 2, "nonzero"),
        ("[cell]\nrestart = 'often'", 2, "unknown variant `often`"),
        ("[limit]", 1, "unknown key `limit`, expected one of `cell`, `limits`, `env`, `grants`"),
        ("top = 1", 1, "unknown key `top`"),
        (
            "[limits]\nmemroy = 1",
            2,
            "expected one of `memory`, `deadline`, `cpu`, `children`, `subtree-cells`, `subtree-memory`, `message-size`",
        ),
        ("[limits]\nmemory = '64MB'", 2, "invalid value: string \"64MB\", expected a size above 0: bytes, or"),
        ("[limits]\nmemory = 0", 2, "expected a size above 0"),
        ("[limits]\nmemory = -1", 2, "expected a size above 0"),
        ("[limits]\nmemory = true", 2, "expected a size above 0"),
        ("[limits]\ndeadline = '1 day'", 2, "expected a time above 0: milliseconds, or"),
        ("[limits]\ncpu = 0.5", 2, "expected a time above 0"),
        ("[limits]\nchildren = -1", 2, "expected u32"),
        ("[grants]\nhost = [\"id\", \"all\"]", 2, "unknown variant `all`, expected one of `id`, `addrs`, `peers`"),
        ("[grants]\nexecutor = 'echo'", 2, "expected a sequence"),
        ("[grants]\nkeys = true", 2, "unknown key `keys`, expected one of `host`, `executor`, `loader`"),
        ("[cell]\nname = 'Echo'", 2, "\"Echo\" is not a name"),
        ("[cell]\nname = 'rpc'", 2, "reserved"),
        ("[cell]\nasync = 'yes'", 2, "expected a boolean"),
        ("[env]\n'' = 'x'", 2, "is not the name of a variable"),
        ("[env]\nA = 'x'\n'B=C' = 'x'", 3, "\"B=C\" is not the name of a variable"),
        ("[env]\nA = \"x\\u0000\"", 2, "holds a NUL"),
        ("[env]\nA = 1", 2, "expected a string"),
        ("[cell]\nasync = true\nasync = false", 3, "duplicate key"),
        ("[cell", 1, ""),
    ];
    for (text, line, message) in table {
        let invalid = Manifest::parse(text).expect_err(text);
        assert_eq!(invalid.line, line, "{text:?}: {invalid}");
        assert!(invalid.message.contains(message), "{text:?}: {invalid}");
    }
}

#[test]
fn columns_count_characters() {
    let invalid = Manifest::parse("[cell]\n  ä.b = 1\n").expect_err("an unknown key");
    assert_eq!((invalid.line, invalid.column), (2, 3), "{invalid}");
    let invalid = Manifest::parse("[env]\n\"ä\" = 1\n").expect_err("a number");
    assert_eq!((invalid.line, invalid.column), (2, 7), "{invalid}");
}
