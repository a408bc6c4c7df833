# The words people type; `make help` lists them.

DIR ?= examples
PORT ?= 8080
PREFIX ?= /usr/local
ROUNDS ?= 5
SECONDS ?= 2
PAGE ?=
LUA ?= luajit
TEST ?=
APXS ?= apxs
CARGO ?= cargo
FUZZ_RUNS ?= 1000000
FUZZ_TARGET ?=
REQUESTS ?= 2000000
TARGET = $(or $(CARGO_TARGET_DIR),target)
TOOLS = $(TARGET)/tools

# Optimized with all it is linked from, which cargo does for a library that nothing but httpd loads; tests have it as a
# Rust library too.
BUILD_MODULE = $(CARGO) rustc --release -p mod_plua --lib --crate-type cdylib --no-default-features --features "$(LUA)"

# It waits for its user: the engine that is in it is compiled for size, which saves half a megabyte. Only the module's has to be fast.
BUILD_COMMAND = $(CARGO) build --release -p plua-cli --no-default-features --features "$(LUA)" \
	--config 'profile.release.package.plua-engine.opt-level="s"'

# Each test program holds what it links: without lines and names for debuggers and what the next compilation could take
# over, all of them, with every Lua, take a third. A panic tells its line all the same.
CARGO_TEST = CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=symbols $(CARGO) test --no-fail-fast

# Test programs that have run make room for the next ones: all of them together would take 5 GB.
SWEEP = find "$(TARGET)/debug/deps" -maxdepth 1 -type f -perm -u+x ! -name '*.so' -delete

# A test that finds no httpd is skipped; here it fails instead.
export PLUA_REQUIRE_HTTPD = 1

.DEFAULT_GOAL := help
.PHONY: help deps build serve test test-engine test-server test-panics test-lua54 test-lua51 test-restarts test-asan \
	soak fuzz bench bench-scale bench-state bench-waiting bench-engine check manual install uninstall deb clean

help: ## Show these words
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

deps: ## Install what building needs (Debian packages)
	scripts/deps build

build: deps ## Build the module and the plua command with LUA (luajit, or lua54 or lua51)
	$(BUILD_MODULE)
	$(BUILD_COMMAND)

serve: ## Build, and show the pages of DIR (examples) on PORT (8080)
	@MAKE_PID=$$PPID scripts/serve "$(DIR)" "$(PORT)" "$(TARGET)/release/plua" $(MAKE) --no-print-directory build

test: test-engine test-server test-panics test-lua54 test-lua51 ## Run every test, with every Lua

test-engine: ## Test all but the module, with LuaJIT
	scripts/deps test
	$(CARGO_TEST) --workspace --exclude mod_plua
	$(SWEEP)

test-server: ## Test the module in a real httpd, with LuaJIT
	scripts/deps test
	$(CARGO_TEST) -p mod_plua
	$(SWEEP)

# In a folder of its own, so that no other target takes a module that panics on demand for its own.
test-panics: ## Test the module with panics where there should be none
	scripts/deps test
	CARGO_TARGET_DIR="$(abspath $(TARGET))/fault-injection" $(CARGO_TEST) -p mod_plua --features fault-injection --test panics
	rm -rf "$(abspath $(TARGET))/fault-injection"

test-lua54: ## Test engine and module with Lua 5.4
	scripts/deps test
	$(CARGO_TEST) -p plua-engine --no-default-features --features lua54
	$(SWEEP)
	$(CARGO_TEST) -p mod_plua --no-default-features --features lua54
	$(SWEEP)

test-lua51: ## Test the engine with Lua 5.1
	scripts/deps test
	$(CARGO_TEST) -p plua-engine --no-default-features --features lua51
	$(SWEEP)

test-restarts: ## Restart httpd every second for a minute under load
	scripts/deps test
	PLUA_RESTART_SECONDS=60 $(CARGO) test -p mod_plua --test restarts every_second -- --nocapture

# httpd itself is not built with the sanitizer, so its runtime is loaded before all else: gcc's, which the C shim is built
# for. LuaJIT keeps marks in its pointers: to a search for leaks all it holds would look lost. The test of plua serve is
# left out, for the plua command has the runtime in itself, that of clocks, which loads a library of its own, and that of
# wrong configurations, which calls httpd by itself. Freed memory is kept back only for a while, or tests of memory would
# count it.
test-asan: ## Test the module in a real httpd, built with AddressSanitizer (TEST=all)
	scripts/deps test
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address PLUA_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=8 \
	$(CARGO) test --no-fail-fast -p mod_plua --target "$$(rustc -vV | sed -n 's/^host: //p')" \
	--target-dir "$(TARGET)/asan" $(if $(TEST),--test $(TEST)) -- --skip until_ctrl_c --skip a_clock_that_is_set \
	--skip a_wrong_configuration_is_refused

soak: ## Send the module mixed REQUESTS (2000000) and see that memory and files stay flat
	scripts/deps test
	PLUA_SOAK_REQUESTS="$(REQUESTS)" $(CARGO) test --release -p mod_plua --test soak -- --ignored --nocapture

fuzz: ## Throw FUZZ_RUNS (1000000) made up inputs at each fuzz target, or at FUZZ_TARGET
	scripts/deps fuzz
	scripts/fuzz "$(FUZZ_RUNS)" "$(FUZZ_TARGET)"

# A peer that cannot be installed is left out of the report.
bench: ## Measure against a bare C handler, mod_php and mod_lua (ROUNDS=5 SECONDS=2 PAGE=all; installs them)
	scripts/deps build
	-scripts/deps bench
	$(BUILD_MODULE)
	$(CARGO) build --release -p bench
	$(TARGET)/release/bench --rounds "$(ROUNDS)" --seconds "$(SECONDS)" --page "$(PAGE)" --out "$(TARGET)/bench"

bench-scale: ## Measure with many pages, hosts and clients, and cold pages
	scripts/deps build
	-scripts/deps bench
	$(BUILD_MODULE)
	$(CARGO) build --release -p bench
	$(TARGET)/release/bench --scale --seconds "$(SECONDS)" --out "$(TARGET)/bench"

bench-state: ## Measure stores and sessions against APCu, ngx_lua's and PHP's (ROUNDS=5 SECONDS=2)
	scripts/deps build
	-scripts/deps bench
	$(BUILD_MODULE)
	$(CARGO) build --release -p bench
	$(TARGET)/release/bench --state --rounds "$(ROUNDS)" --seconds "$(SECONDS)" --out "$(TARGET)/bench"

bench-waiting: ## Measure thousands of pages that wait (SECONDS=2; ulimit -Hn 12000)
	scripts/deps build
	-scripts/deps bench
	$(BUILD_MODULE)
	$(CARGO) build --release -p bench
	$(TARGET)/release/bench --waiting --seconds "$(SECONDS)" --out "$(TARGET)/bench"

bench-engine: ## Measure the parts of the engine
	scripts/deps build
	$(CARGO) bench -p plua-engine --bench engine

# Nothing is linked, so libFuzzer need not be there.
check: ## Check formatting and lints, and that the fuzz targets compile
	scripts/deps check
	test -x $(TOOLS)/bin/stylua || $(CARGO) install stylua --version 2.6.0 --locked --no-default-features --debug --root $(TOOLS)
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	luacheck --quiet plua/src redis-store/src
	$(TOOLS)/bin/stylua --check plua/src redis-store/src
	CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a RUSTFLAGS="--cfg fuzzing -D warnings" \
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir "$(abspath $(TARGET))/fuzzing"

manual: ## Make HTML of docs/, in target/manual
	scripts/deps build
	test -x $(TOOLS)/bin/mdbook || $(CARGO) install mdbook --version 0.5.4 --locked --no-default-features --features search --debug --root $(TOOLS)
	$(TOOLS)/bin/mdbook build --dest-dir "$(abspath $(TARGET))/manual" docs

# Built before, by the user: root often has no cargo.
install: ## Install the module, its configuration and the plua command (after make build, as root)
	TARGET="$(TARGET)" PREFIX="$(PREFIX)" APXS="$(APXS)" DESTDIR="$(DESTDIR)" STRIP="$(STRIP)" scripts/install

uninstall: ## Take away what make install has put, as root
	PREFIX="$(PREFIX)" APXS="$(APXS)" DESTDIR="$(DESTDIR)" scripts/install remove

deb: build ## Make Debian packages of the module, the plua command and the manual, in target/packages
	scripts/deps deb
	TARGET="$(TARGET)" LUA="$(LUA)" scripts/deb

clean: ## Remove what was built
	$(CARGO) clean
