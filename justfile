# Everyday commands. `just` lists them.

default:
    @just --list

# The gate: format, lints, tests, docs.
ci:
    .ci/run

# All tests.
test *ARGS:
    cargo test {{ ARGS }}

# The lints of the gate.
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings

# Regenerates the files made from the table of configuration keys.
generate:
    UPDATE_SHIPPED=1 cargo test --lib config::shipped_tests

# Retakes the README's pictures from a real run.
picture:
    docs/picture.sh

# One benchmark: schedule, poll, idle, start, oneshot, decode or store.
bench NAME *ARGS:
    cargo bench --bench {{ NAME }} -- {{ ARGS }}

# Fuzzes the decoder for this many seconds.
fuzz SECONDS="600":
    mkdir -p fuzz/corpus/decode
    cargo +nightly fuzz run --sanitizer none decode fuzz/corpus/decode fuzz/seeds/decode -- \
        -dict=fuzz/json.dict -max_len=4096 -max_total_time={{ SECONDS }}

# Runs the simulator alone, ten times faster.
simulate *ARGS:
    cargo run --release -- simulate --speed 10 {{ ARGS }}

# Builds package, RPM, static tarball, image, bill of materials and checksums into target/dist.
release:
    packaging/release.sh

# As root: installs program, units, group, man pages, completions and a first configuration, on this machine or in DESTDIR.
install PREFIX="/usr" DESTDIR="":
    cargo build --release --locked
    PREFIX={{ PREFIX }} DESTDIR={{ DESTDIR }} systemd/install.sh install

# Removes what `install` installed, except configuration, state and group.
uninstall PREFIX="/usr" DESTDIR="":
    PREFIX={{ PREFIX }} DESTDIR={{ DESTDIR }} systemd/install.sh uninstall
