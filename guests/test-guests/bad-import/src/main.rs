//! Imports what no node offers: it cannot be started, and whoever tries is told the name.

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package wetware:nonsense@0.1.0;
            interface nothing { nothing: func(); }
            world nonsense { import nothing; }
        ",
    });
}

fn main() {
    bindings::wetware::nonsense::nothing::nothing();
    println!("started");
}
