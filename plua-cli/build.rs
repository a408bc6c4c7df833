//! Says how the command is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(argument) = c_headers::packed_relocations() {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
