# `make run` boots the first image, `make test` runs every test; both do the set-up that is missing.

.PHONY: run test bench bench-check bench-docs soak lint guests test-guests images schema deny clean set-up-targets \
        pid0 child-echo shell echo tree

WASI2 := wasm32-wasip2
WASI1 := wasm32-wasip1
GUESTS := guests/target/$(WASI2)/release
IMAGES := pid0 child-echo shell echo tree
CARGO_GUESTS = cd guests && cargo build --locked --quiet --release

run: images
	cargo run --locked --quiet -- run examples/images/pid0

test: guests test-guests images
	tests/run.sh

# One guest alone. pid0 carries child-echo inside it, and the shell's image has it to run.
child-echo shell echo tree: set-up-targets
	$(CARGO_GUESTS) --target $(WASI2) -p $@

pid0: child-echo
	$(CARGO_GUESTS) --target $(WASI2) -p $@

guests: pid0 child-echo shell echo tree

# Guests that only tests run: one for each way to end, and one without the SDK for preview 1.
test-guests: set-up-targets
	$(CARGO_GUESTS) --target $(WASI2) -p exits -p caller -p actor -p neighbour -p outside -p mirror -p mite -p relay -p polling -p bad-import
	$(CARGO_GUESTS) --target $(WASI1) -p preview1

images: guests
	@for image in $(IMAGES); do \
	  mkdir -p examples/images/$$image/bin && \
	  cp $(GUESTS)/$$image.wasm examples/images/$$image/bin/main.wasm || exit 1; \
	done
	@cp $(GUESTS)/child-echo.wasm examples/images/shell/bin/child-echo.wasm

# All rows, or those that BENCH names. `bench-check` fails if the last run missed a target for a ratio.
BENCHES := cargo bench --locked --workspace --bench bench --

bench: images test-guests
	$(BENCHES) $(BENCH)

bench-check:
	$(BENCHES) --check

# The table of the last runs, for docs/performance.md.
bench-docs:
	@$(BENCHES) --docs

# `cells` is the storm of crashes of the tests, for longer. `hostile` holds a node to its bar beside each attack, one at a
# time, for as many seconds as here. `fuzz`, which runs where SOAK names it, runs each fuzz target: it needs cargo-fuzz and a
# nightly compiler. Every other soak is an example `soak-NAME` that takes minutes as its argument, and fails if it gets stuck.
SOAK := cells streams hostile
MINUTES := 5
SECONDS_OF_ATTACK := 30
FUZZ_MINUTES := 60
FUZZ = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

soak: images test-guests
	@for soak in $(SOAK); do \
	  if [ $$soak = cells ]; then \
	    WW_SOAK_SECONDS=$$(($(MINUTES) * 60)) cargo test --locked --workspace --lib -- storm --nocapture || exit 1; \
	  elif [ $$soak = hostile ]; then \
	    WW_HOSTILE_SECONDS=$(SECONDS_OF_ATTACK) cargo test --locked --workspace --release --test e2e -- \
	      hostile:: --nocapture --test-threads 1 || exit 1; \
	  elif [ $$soak = fuzz ]; then \
	    cargo fuzz --version >/dev/null 2>&1 || \
	      { echo "cargo-fuzz is missing: cargo install cargo-fuzz, and rustup toolchain install nightly"; exit 1; }; \
	    for target in $(FUZZ); do \
	      cargo +nightly fuzz run $$target -- -max_total_time=$$(($(FUZZ_MINUTES) * 60)) || exit 1; \
	    done; \
	  else \
	    cargo run --locked --quiet --release --example soak-$$soak -- $(MINUTES) || exit 1; \
	  fi; \
	done

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cd guests && cargo fmt --check
	cd guests && cargo clippy --locked --release --target $(WASI2) --workspace -- -D warnings

# Writes the Rust of the Cap'n Proto schemas anew, after a change to one of them.
schema:
	cargo run --locked --quiet -p ww-schema --example generate

# Needs cargo-deny: licences, sources and duplicate crates of everything that is built.
deny:
	cargo deny check bans licenses sources
	cd guests && cargo deny --config ../deny.toml check bans licenses sources

clean:
	cargo clean
	cd guests && cargo clean
	rm -rf examples/images/*/bin

set-up-targets:
	@for target in $(WASI2) $(WASI1); do \
	  rustup target list --installed | grep -qx $$target || rustup target add $$target; \
	done
