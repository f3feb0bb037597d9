use super::*;

const CELL: Owner = Owner::Cell(CellId::new(1));
const OTHER: Owner = Owner::Cell(CellId::new(2));
const SLOT: SlotId = SlotId::new(7);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// Each is in a part of its own.
fn owner_part(owner: Owner) -> usize {
    match owner {
        Owner::Cell(cell) => cell.get() as usize,
        Owner::Slot(slot) => slot.get() as usize + 1_000,
    }
}

fn registry() -> Registry {
    let registry = Registry::new(100);
    for owner in [CELL, OTHER, Owner::Slot(SLOT)] {
        registry.open(owner, owner_part(owner));
    }
    registry
}

#[test]
fn a_name_is_taken_until_it_is_released() {
    let registry = registry();
    assert_eq!(registry.register(name("echo"), CELL), Ok(()));
    assert_eq!(registry.whereis(&name("echo")), Some(CellId::new(1)));
    for owner in [CELL, OTHER] {
        assert_eq!(registry.register(name("echo"), owner), Err(Error::Taken(name("echo"), CELL)));
    }
    assert_eq!(registry.unregister(&name("echo"), OTHER), Err(Error::NotRegistered(name("echo"))));
    assert_eq!(registry.unregister(&name("echo"), CELL), Ok(()));
    assert_eq!(registry.unregister(&name("echo"), CELL), Err(Error::NotRegistered(name("echo"))));
    assert_eq!(registry.register(name("echo"), OTHER), Ok(()));
}

#[test]
fn names_of_a_spec_stay_with_the_slot_and_others_go_with_the_incarnation() {
    let registry = registry();
    let (first, second) = (CellId::new(1), CellId::new(2));
    registry.register(name("store"), Owner::Slot(SLOT)).unwrap();
    assert_eq!(registry.whereis(&name("store")), None, "nobody lives there yet");
    registry.occupy(SLOT, Some(first));
    registry.register(name("leader"), CELL).unwrap();
    registry.register(name("cache"), CELL).unwrap();
    assert_eq!(registry.whereis(&name("store")), Some(first));

    registry.occupy(SLOT, None);
    assert_eq!(registry.close(CELL), [name("cache"), name("leader")], "all of them");
    assert_eq!(registry.whereis(&name("store")), None);
    assert_eq!(registry.owner(&name("store")), Some(Owner::Slot(SLOT)));
    registry.occupy(SLOT, Some(second));
    assert_eq!(registry.whereis(&name("store")), Some(second));
    assert_eq!(registry.whereis(&name("leader")), None);

    assert_eq!(registry.close(Owner::Slot(SLOT)), [name("store")]);
    assert!(registry.is_empty());
}

#[test]
fn who_has_ended_leaves_no_name_behind() {
    let registry = registry();
    registry.close(CELL);
    assert_eq!(registry.register(name("late"), CELL), Err(Error::NoProcess(name("late"))));
    assert_eq!(registry.close(CELL), []);
    registry.occupy(SlotId::new(8), Some(CellId::new(1)));
    assert_eq!(registry.close(Owner::Slot(SlotId::new(8))), []);
}

#[test]
fn names_are_bounded_per_owner_and_per_node() {
    let registry = Registry::new(200);
    for (part, owner) in [CELL, OTHER, Owner::Slot(SLOT)].into_iter().enumerate() {
        registry.open(owner, part);
    }
    for number in 0..MAX_NAMES_EACH {
        registry.register(name(&format!("n{number}")), CELL).unwrap();
    }
    assert_eq!(registry.register(name("more"), CELL), Err(Error::TooMany));
    for number in 0..MAX_NAMES_EACH {
        registry.register(name(&format!("m{number}")), OTHER).unwrap();
    }
    assert_eq!(registry.register(name("more"), OTHER), Err(Error::TooMany));
    registry.unregister(&name("m0"), OTHER).unwrap();
    assert_eq!(registry.register(name("more"), OTHER), Ok(()));
    registry.close(CELL);
    assert_eq!(registry.len(), MAX_NAMES_EACH);
}

#[test]
fn a_part_of_the_node_leaves_names_to_all_others_however_many_owners_it_makes() {
    let registry = Registry::new(1_000);
    let take = |part: u64| {
        for cell in 1..=100 {
            let owner = Owner::Cell(CellId::new(part * 1_000 + cell));
            registry.open(owner, part as usize);
            let names = (0..MAX_NAMES_EACH).map(|number| name(&format!("p{part}-{cell}-{number}")));
            names.take_while(|name| registry.register(name.clone(), owner).is_ok()).for_each(drop);
        }
        registry.len()
    };
    assert_eq!(take(1), 500);
    assert_eq!(take(2), 750, "half of what was left");
    let refused = registry.register(name("more"), Owner::Cell(CellId::new(1_100)));
    assert_eq!(refused, Err(Error::PartFull(500)));
    registry.open(CELL, 3);
    assert_eq!(registry.register(name("mine"), CELL), Ok(()));
    for cell in 1..=100 {
        registry.close(Owner::Cell(CellId::new(1_000 + cell)));
    }
    assert_eq!((registry.len(), registry.counts().parts.len()), (251, 2));
}

#[test]
fn one_of_many_threads_gets_the_name() {
    let registry = Registry::default();
    let wins: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|id| {
                let (registry, owner) = (&registry, Owner::Cell(CellId::new(id)));
                scope.spawn(move || {
                    registry.open(owner, 0);
                    (0..200).filter(|n| registry.register(name(&format!("n{n}")), owner).is_ok()).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, registry.len());
    for id in 0..4 {
        registry.close(Owner::Cell(CellId::new(id)));
    }
    assert!(registry.is_empty());
    let counts = registry.counts();
    assert_eq!((counts.all, counts.parts.len()), (0, 0));
}

#[test]
fn the_nearest_name_is_within_two_edits() {
    let registry = registry();
    for text in ["parser", "printer", "router"] {
        registry.register(name(text), CELL).unwrap();
    }
    for (wanted, nearest) in [
        ("parser", Some("parser")),
        ("praser", Some("parser")),
        ("printr", Some("printer")),
        ("rooter", Some("router")),
        ("Router!", Some("router")),
        ("store", None),
        ("", None),
    ] {
        assert_eq!(registry.nearest(wanted).as_ref().map(Name::as_str), nearest, "{wanted:?}");
    }
}
