# The whole developer interface; `.ci/run` calls `make test` and nothing weaker.

# A failure's own words are worth more than where it was: they come last.
export RUST_BACKTRACE = 0

.PHONY: demo build test quick check parts it screenshots bench bench-decisions count differential fuzz fmt

# Builds the binary and runs the main job on this machine: an edge, a demo identity provider, and four mesh workloads behind it.
demo:
	cargo build --locked
	target/debug/wayleave demo $(ARGS)

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

# The pictures of README.md, taken anew.
screenshots: parts
	tests/parts/with-parts.sh cargo test --locked --test it the_readmes_pictures
	mkdir -p docs/images && cp target/screenshots/readme/*.png docs/images/

# Beside Envoy and nginx on this machine: CPU time per request, ratios; about 5 minutes after the release build. Needs wrk and h2load (apt: wrk nghttp2-client).
bench: parts
	cargo build --locked --release
	tests/parts/with-parts.sh target/parts/python/bin/python bench/run.py

# What rules cost the RBAC filter of a real Envoy and Cedar's engine, to set beside `cargo bench --bench policy`; some 2 minutes after the builds. Needs wrk.
bench-decisions: parts
	cargo run --locked --release --manifest-path bench/cedar/Cargo.toml --target-dir target/cedar
	tests/parts/with-parts.sh target/parts/python/bin/python bench/decide.py

# System calls per request and per connection, whatever else the machine does; needs strace besides. ARGS="--instructions FOLDER" counts instructions with valgrind.
count: parts
	cargo build --locked --release
	tests/parts/with-parts.sh target/parts/python/bin/python bench/count.py $(ARGS)

# Ten million random requests, each decided by the engine and by an evaluator that shares nothing with it, and a hundred thousand by a real Envoy that has
# the policy as Istio's manifests; some 30 minutes after the build.
differential: parts
	WAYLEAVE_TEST_CASES=340000 cargo test --locked --release --lib j7_
	WAYLEAVE_TEST_ENVOY_POLICIES=3400 tests/parts/with-parts.sh cargo test --locked --release --test it j7_envoy

# A minute of each fuzz target; needs cargo-fuzz and a nightly toolchain.
fuzz:
	cd fuzz && for target in $$(cargo +nightly fuzz list); do mkdir -p corpus/$$target && cargo +nightly fuzz run $$target corpus/$$target seeds/$$target -- -max_total_time=60 || exit 1; done

fmt:
	cargo fmt
