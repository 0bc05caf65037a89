# The whole developer interface; `.ci/run` calls `make test` and nothing weaker.

.PHONY: demo build test quick check parts it fuzz fmt

# Builds the binary and sets up the demo's identity provider, CA and two mesh workloads.
demo:
	cargo build --locked
	target/debug/wayleave demo

build:
	cargo build --locked --release

# Everything: installs what the tests need, then formatting, lints, documentation, all tests on both databases.
test: check parts
	tests/parts/with-parts.sh cargo test --locked --all-targets --no-fail-fast

# The inner loop: no lints, no real peers.
quick:
	cargo test --locked --lib --test architecture

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --no-deps --document-private-items --quiet

# Real peers of the tests: PostgreSQL, Chromium, Envoy, nginx, an OpenID provider.
parts:
	tests/parts/setup.sh

# One group of tests against the real peers: make it T=store
it: parts
	tests/parts/with-parts.sh cargo test --locked --test it $(T)

# A minute of each fuzz target; needs cargo-fuzz and a nightly toolchain.
fuzz:
	cd fuzz && for target in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run $$target -- -max_total_time=60 || exit 1; done

fmt:
	cargo fmt
