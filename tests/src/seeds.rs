//! The inputs that fuzzing starts from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One input of a fuzz target.
#[derive(Debug)]
pub struct Seed {
    /// The name of its file.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// The seeds of the fuzz target `target`, by name: `fuzz/corpus/<target>`, and for `manifest` the
/// fixtures too.
pub fn seeds(target: &str) -> io::Result<Vec<Seed>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = files(&tests.join("../fuzz/corpus").join(target))?;
    if target == "manifest" {
        let fixtures = tests.join("fixtures/manifests");
        seeds.extend(files(&fixtures.join("valid"))?);
        seeds.extend(files(&fixtures.join("invalid"))?);
    }
    seeds.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(seeds)
}

fn files(folder: &Path) -> io::Result<Vec<Seed>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let seed = |path: PathBuf| {
        Ok(Seed {
            name: path.display().to_string(),
            bytes: fs::read(path)?,
        })
    };
    paths.map(|path| path.and_then(seed)).collect()
}
