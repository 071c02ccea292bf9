use super::walk::MAX_DEPTH;
use super::*;
use crate::pack::PackError;
use crate::tree::object;
use std::collections::HashMap;
use std::time::Duration;

/// Objects by id, made on the spot.
#[derive(Default)]
struct Made {
    trees: HashMap<Oid, Vec<u8>>,
    blobs: HashMap<Oid, Vec<u8>>,
}

impl Made {
    fn put_blob(&mut self, data: &[u8]) -> Oid {
        let oid = Oid::hash_object(git2::ObjectType::Blob, data).unwrap();
        self.blobs.insert(oid, data.to_vec());
        oid
    }

    fn put_tree(&mut self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut data = Vec::new();
        for (mode, name, oid) in entries {
            data.extend([mode.as_bytes(), b" ", *name, b"\0", oid.as_bytes()].concat());
        }
        // A hash of its own kind keeps hostile trees out of the library's checks.
        let oid = Oid::hash_object(git2::ObjectType::Blob, &data).unwrap();
        self.trees.insert(oid, data);
        oid
    }
}

impl Objects for Made {
    fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        Ok(self.trees.get(&oid).cloned())
    }
    fn blob_size(&self, oid: Oid) -> Option<u64> {
        self.blobs.get(&oid).map(|data| data.len() as u64)
    }
    fn blob(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        Ok(self.blobs.get(&oid).cloned())
    }
}

/// Plans a whole repository.
fn plan(made: &Made, root: Oid, limits: Limits) -> Result<Plan, TreeError> {
    super::plan(made, &Selection::whole(root), limits, Used::default(), UnsafeLinks::Refuse).map(complete)
}

fn complete(planned: Planned) -> Plan {
    match planned {
        Planned::Complete(plan) => plan,
        Planned::Incomplete(needed) => panic!("{needed:?}"),
    }
}

const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 1000, files: 10 };

#[test]
fn lists_everything_directories_first() {
    let mut made = Made::default();
    let blob = made.put_blob(b"hello");
    let target = made.put_blob(b"../a");
    let sub = made.put_tree(&[("120000", b"l", target), ("100755", b"x", blob)]);
    let root = made.put_tree(&[("100644", b"a", blob), ("40000", b"d", sub), ("160000", b"m", blob)]);
    let plan = plan(&made, root, LIMITS).unwrap();
    let paths: Vec<_> = plan.items.iter().map(|item| String::from_utf8_lossy(&item.path)).collect();
    assert_eq!(paths, ["a", "d", "d/l", "d/x", "m"]);
    assert_eq!((plan.files, plan.bytes, plan.submodules.len()), (3, 14, 1));
}

#[test]
fn rejects_unsafe_names_at_any_depth() {
    for name in [&b".git"[..], b"..", b"GIT~1", b""] {
        let mut made = Made::default();
        let blob = made.put_blob(b"x");
        let sub = made.put_tree(&[("100644", name, blob)]);
        let root = made.put_tree(&[("40000", b"d", sub)]);
        assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })), "{name:?}");
    }
}

#[test]
fn rejects_duplicate_names() {
    let mut made = Made::default();
    let blob = made.put_blob(b"x");
    let sub = made.put_tree(&[]);
    let root = made.put_tree(&[("120000", b"a", blob), ("40000", b"a", sub)]);
    assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })));
}

#[test]
fn rejects_a_symlink_as_gitmodules() {
    let mut made = Made::default();
    let target = made.put_blob(b"a");
    let root = made.put_tree(&[("120000", b".gitmodules", target)]);
    assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })));
    let root = made.put_tree(&[("100644", b".gitmodules", target)]);
    assert!(plan(&made, root, LIMITS).is_ok());
}

/// Each directory on the way down is in memory for as long as there is more in it.
#[test]
fn directories_are_counted_with_all_that_is_in_them_before_they_are_entered() {
    let mut made = Made::default();
    let blob = made.put_blob(b"x");
    let names: Vec<String> = (0..15).map(|n| format!("z{n}")).collect();
    let mut tree = made.put_tree(&[]);
    for _ in 0..5 {
        let mut entries = vec![("40000", &b"a"[..], tree)];
        entries.extend(names.iter().map(|name| ("100644", name.as_bytes(), blob)));
        tree = made.put_tree(&entries);
    }
    // The objects at the bottom must not be requested.
    let empty = made.put_tree(&[]);
    made.trees.remove(&empty);
    assert!(matches!(plan(&made, tree, LIMITS), Err(TreeError::TooLarge { unit: "files", .. })));
}

#[test]
fn paths_and_targets_are_held_within_limits_too() {
    let mut made = Made::default();
    let target = made.put_blob(&[b'x'; 4000]);
    let names: Vec<String> = (0..1000).map(|n| format!("{n}")).collect();
    let links: Vec<(&str, &[u8], Oid)> = names.iter().map(|n| ("120000", n.as_bytes(), target)).collect();
    let root = made.put_tree(&links);
    let limits = Limits { files: 1000, bytes: 1 << 30, ..LIMITS };
    let error = plan(&made, root, limits).unwrap_err();
    assert!(matches!(error, TreeError::TooLarge { unit: "bytes of paths and symlinks", .. }), "{error}");
}

#[test]
fn rejects_links_out_of_the_directory() {
    let mut made = Made::default();
    let target = made.put_blob(b"../../etc");
    let root = made.put_tree(&[("120000", b"a", target)]);
    let error = plan(&made, root, LIMITS).unwrap_err();
    assert!(error.to_string().contains("`a`"), "{error}");
}

#[test]
fn holds_the_limits_before_it_runs_out_of_memory() {
    let mut made = Made::default();
    let blob = made.put_blob(&[0; 200]);
    let root = made.put_tree(&[
        ("100644", b"1", blob),
        ("100644", b"2", blob),
        ("100644", b"3", blob),
        ("100644", b"4", blob),
        ("100644", b"5", blob),
        ("100644", b"6", blob),
    ]);
    assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::TooLarge { unit: "bytes", .. })));

    // Ten directories of ten directories of …: 10^20 of them, in twenty small objects.
    let mut tree = made.put_tree(&[]);
    for _ in 0..20 {
        let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|digit| [digit]).collect();
        let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|n| ("40000", &n[..], tree)).collect();
        tree = made.put_tree(&entries);
    }
    let limits = Limits { files: 100_000, ..LIMITS };
    assert!(matches!(plan(&made, tree, limits), Err(TreeError::TooLarge { unit: "directories", .. })));
}

#[test]
fn rejects_endlessly_nested_directories() {
    let mut made = Made::default();
    let mut tree = made.put_tree(&[]);
    for _ in 0..MAX_DEPTH + 2 {
        tree = made.put_tree(&[("40000", b"d", tree)]);
    }
    let limits = Limits { files: 100_000, ..LIMITS };
    assert!(matches!(plan(&made, tree, limits), Err(TreeError::TooDeep { .. })));
}

#[test]
fn an_object_that_was_not_sent_is_missed() {
    let mut made = Made::default();
    let nowhere = Oid::hash_object(git2::ObjectType::Blob, b"nowhere").unwrap();
    for mode in ["100644", "40000", "120000"] {
        let root = made.put_tree(&[(mode, b"a", nowhere)]);
        assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Missing { .. })), "{mode}");
    }
    assert!(matches!(plan(&made, nowhere, LIMITS), Err(TreeError::Missing { .. })));
}

/// A repository of files, links (`a -> b`), submodules (`a @`) and directories, given by their paths.
fn repository(made: &mut Made, lines: &[&str]) -> Oid {
    let mut entries: Vec<(&str, &[u8], Oid)> = Vec::new();
    let mut directories: Vec<(&str, Vec<String>)> = Vec::new();
    for line in lines {
        let path = line.split(' ').next().unwrap();
        if let Some((directory, _)) = path.split_once('/') {
            let inner = line[directory.len() + 1..].to_owned();
            match directories.iter_mut().find(|(name, _)| *name == directory) {
                Some((_, inside)) => inside.push(inner),
                None => directories.push((directory, vec![inner])),
            }
        } else if let Some((path, target)) = line.split_once(" -> ") {
            let target = made.put_blob(target.as_bytes());
            entries.push(("120000", path.as_bytes(), target));
        } else if line.ends_with(" @") {
            let oid = made.put_blob(b"a commit");
            entries.push(("160000", path.as_bytes(), oid));
        } else {
            let oid = made.put_blob(format!("file {line}").as_bytes());
            let kind = if path == "run.sh" { "100755" } else { "100644" };
            entries.push((kind, path.as_bytes(), oid));
        }
    }
    for (name, inside) in &directories {
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        let tree = repository(made, &inside);
        entries.push(("40000", name.as_bytes(), tree));
    }
    entries.sort_by_key(|(_, name, _)| *name);
    made.put_tree(&entries)
}

/// Plans the directory `wf`; gives paths with what they are, and the message of an error.
fn planned(lines: &[&str], unsafe_links: UnsafeLinks) -> Result<(Vec<String>, Plan), String> {
    let mut made = Made::default();
    let root = repository(&mut made, lines);
    let wf = object::parse(&made.trees[&root], root.object_format()).unwrap();
    let tree = wf.entries().find(|entry| entry.name == b"wf").unwrap().oid;
    let selection = Selection { root, path: b"wf".to_vec(), tree };
    let planned = super::plan(&made, &selection, LIMITS, Used::default(), unsafe_links).map(complete);
    let plan = planned.map_err(|error| error.to_string())?;
    let mut shown: Vec<String> = plan
        .items
        .iter()
        .map(|item| {
            let path = String::from_utf8_lossy(&item.path);
            match item.kind {
                EntryMode::Tree => format!("{path}/"),
                EntryMode::File(_) => format!("{path} = {}", String::from_utf8_lossy(&made.blobs[&item.oid])),
                EntryMode::Symlink => {
                    format!("{path} -> {}", String::from_utf8_lossy(&plan.links[&item.path]))
                }
                EntryMode::Submodule => format!("{path} @"),
            }
        })
        .collect();
    shown.sort();
    Ok((shown, plan))
}

#[test]
fn links_out_of_the_directory_are_replaced_by_copies() {
    let cases: [(&[&str], &[&str]); 12] = [
        (&["CLAUDE.md", "wf/a -> ../CLAUDE.md"], &["a = file CLAUDE.md"]),
        (&["run.sh", "wf/a -> ../run.sh"], &["a = file run.sh"]),
        (&["s/k/x", "wf/a -> ../s/k"], &["a/", "a/x = file x"]),
        // Links within a copied directory stay links; those that leave it are replaced again.
        (
            &["s/k/x", "s/k/y -> x", "s/k/z -> ../f", "s/f", "wf/a -> ../s/k"],
            &["a/", "a/x = file x", "a/y -> x", "a/z = file f"],
        ),
        // Chains, and links through links.
        (&["a -> b", "b -> c", "c", "wf/a -> ../a"], &["a = file c"]),
        (&["s/d/x", "l -> s/d", "wf/a -> ../l/x"], &["a = file x"]),
        (&["s/d/x", "s/e", "l -> s/d", "wf/a -> ../l/../e"], &["a = file e"]),
        (&["s/x", "wf/k -> ../s", "wf/a -> k/x"], &["a = file x", "k/", "k/x = file x"]),
        (&["m @", "f", "wf/a -> ../m/../f"], &["a = file f"]),
        // Out and in again.
        (&["wf/a -> ../wf/b", "wf/b"], &["a = file b", "b = file b"]),
        // Links inside, and those that lead nowhere.
        (&["wf/a -> b", "wf/b -> d/..", "wf/d/x"], &["a -> b", "b -> d/..", "d/", "d/x = file x"]),
        (&["wf/a -> b", "wf/b -> a", "wf/c -> none"], &["a -> b", "b -> a", "c -> none"]),
    ];
    for (lines, expected) in cases {
        let (shown, plan) = planned(lines, UnsafeLinks::Refuse).unwrap();
        assert_eq!(shown, expected, "{lines:?}");
        let links = shown.iter().filter(|item| item.contains(" -> ")).count();
        assert_eq!(plan.links.len(), links, "{lines:?}");
        assert_eq!(
            usize::try_from(plan.files).unwrap(),
            shown.iter().filter(|item| !item.ends_with('/')).count(),
            "{lines:?}"
        );
    }
    let (_, plan) = planned(&["x", "wf/d/a -> ../../x", "wf/e -> ../x"], UnsafeLinks::Refuse).unwrap();
    assert_eq!((plan.replaced, plan.first_replaced.as_deref()), (2, Some("`wf/d/a`")));
}

#[test]
fn skips_or_rejects_links_that_cannot_be_replaced() {
    for (lines, why) in [
        (&["wf/a -> /etc/passwd", "wf/x"][..], "an absolute symlink"),
        (&["l -> /", "wf/a -> ../l/x", "wf/x"], "an absolute symlink"),
        (&["wf/a -> ../../x", "wf/x"], "a symlink that leaves the repository"),
        (&["l -> ../x", "wf/a -> ../l", "wf/x"], "a symlink that leaves the repository"),
        (&["wf/a -> ../none", "wf/x"], "a symlink to something that is not in the repository"),
        (&["f", "wf/a -> ../f/x", "wf/x"], "a symlink to something that is not in the repository"),
        (&["f", "wf/a -> none/../../f", "wf/x"], "a symlink to something that is not in the repository"),
        (&["m @", "wf/a -> ../m", "wf/x"], "a symlink into a submodule outside of the delivered directory"),
        (&["m @", "wf/a -> ../m/x", "wf/x"], "a symlink into a submodule outside of the delivered directory"),
        (&["wf/m @", "wf/a -> m/x/../..", "wf/x"], "a symlink that leads up within a submodule"),
    ] {
        let (shown, plan) = planned(lines, UnsafeLinks::Skip).unwrap();
        assert_eq!(plan.first_skipped, Some(format!("`wf/a`, {why}")), "{lines:?}");
        assert_eq!((plan.skipped.len(), plan.links.len()), (1, 0));
        assert!(shown.iter().all(|item| !item.starts_with('a')), "{shown:?}");
        let error = planned(lines, UnsafeLinks::Refuse).unwrap_err();
        assert!(error.contains(&format!("{why} at `wf/a`")), "{error}");
    }
}

#[test]
fn links_in_a_circle_are_never_written() {
    for lines in [
        &["wf/a -> .."][..],
        &["wf/a -> ../wf"],
        &["wf/d/a -> ../../wf/d"],
        &["a -> b", "b -> a", "wf/a -> ../a"],
        &["s/a -> ../wf/b", "wf/b -> ../s/a"],
        &["s/up -> ../t", "t/up -> ../s", "wf/a -> ../s"],
        &["s/l -> ../wf", "wf/a -> ../s"],
    ] {
        let error = planned(lines, UnsafeLinks::Skip).unwrap_err();
        assert!(error.contains("in a circle"), "{lines:?}: {error}");
    }
    for target in ["../.git/config", "../s/.GIT"] {
        let error = planned(&["s/x", &format!("wf/a -> {target}")], UnsafeLinks::Skip).unwrap_err();
        assert!(error.contains("`.git`"), "{error}");
    }
}

#[test]
fn copies_count_against_the_limits() {
    let copies: Vec<String> = (0..5).map(|n| format!("wf/{n} -> ../s")).collect();
    let lines: Vec<&str> =
        ["s/1", "s/2", "s/3"].into_iter().chain(copies.iter().map(String::as_str)).collect();
    let error = planned(&lines, UnsafeLinks::Skip).unwrap_err();
    assert!(error.contains("more than 10 files"), "{error}");
    // Two copies of the same copies each: 2^30 files in a few objects.
    let mut lines = vec!["wf/a -> ../d0".to_owned(), "d30/x".to_owned()];
    for n in 0..30 {
        lines.extend([format!("d{n}/a -> ../d{}", n + 1), format!("d{n}/b -> ../d{}", n + 1)]);
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let error = planned(&lines, UnsafeLinks::Skip).unwrap_err();
    assert!(error.contains("more than 10"), "{error}");
}

#[test]
fn objects_outside_are_needed_first() {
    let mut made = Made::default();
    let root = repository(&mut made, &["l -> s/f", "s/f", "k/x", "wf/a -> ../l", "wf/b -> ../k"]);
    let at = |made: &Made, tree: Oid, name: &str| {
        let data = &made.trees[&tree];
        let tree = object::parse(data, tree.object_format()).unwrap();
        tree.entries().find(|entry| entry.name == name.as_bytes()).unwrap().oid
    };
    let (wf, k, link) = (at(&made, root, "wf"), at(&made, root, "k"), at(&made, root, "l"));
    let (file, x) = (at(&made, at(&made, root, "s"), "f"), at(&made, k, "x"));
    let selection = Selection { root, path: b"wf".to_vec(), tree: wf };
    let plan =
        |made: &Made| super::plan(made, &selection, LIMITS, Used::default(), UnsafeLinks::Skip).unwrap();
    let missing: Vec<_> = [link, file, x].iter().map(|oid| (*oid, made.blobs.remove(oid).unwrap())).collect();
    let needed = |planned: Planned| match planned {
        Planned::Incomplete(needed) => needed.iter().map(|one| one.oid).collect::<Vec<_>>(),
        Planned::Complete(plan) => panic!("{plan:?}"),
    };
    assert_eq!(needed(plan(&made)), [link, k], "the link, and the directory as one");
    made.blobs.insert(missing[0].0, missing[0].1.clone());
    made.blobs.insert(missing[2].0, missing[2].1.clone());
    assert_eq!(needed(plan(&made)), [file]);
    made.blobs.insert(missing[1].0, missing[1].1.clone());
    assert_eq!(complete(plan(&made)).replaced, 2);
}

/// Writes a plan, or all of a repository, as a checkout does.
fn write(made: &Made, plan: &Plan, directory: &std::path::Path) {
    for item in &plan.items {
        let path = directory.join(std::str::from_utf8(&item.path).unwrap());
        match item.kind {
            EntryMode::Tree | EntryMode::Submodule => std::fs::create_dir(path).unwrap(),
            EntryMode::File(_) => std::fs::write(path, &made.blobs[&item.oid]).unwrap(),
            EntryMode::Symlink => {
                let target = std::str::from_utf8(&plan.links[&item.path]).unwrap();
                std::os::unix::fs::symlink(target, path).unwrap();
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// The kernel reads the same through every path of the directory, in the whole repository and in what is delivered.
    #[test]
    fn every_path_reads_as_in_the_repository(
        links in proptest::collection::btree_map(
            "(wf/|wf/d/|s/|s/d/)[x-z]", "([.]{2}|wf|s|d|x|y|z|f)(/([.]{2}|wf|s|d|x|y|z|f)){0,4}", 1..7,
        )
    ) {
        let lines: Vec<String> = links
            .iter()
            .map(|(path, target)| format!("{path} -> {target}"))
            .chain(["wf/f", "wf/d/f", "s/f", "s/d/f", "s/d/g"].map(str::to_owned))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut made = Made::default();
        let root = repository(&mut made, &lines);
        let limits = Limits { files: 200, bytes: 10_000, ..LIMITS };
        let top = object::parse(&made.trees[&root], root.object_format()).unwrap();
        let tree = top.entries().find(|entry| entry.name == b"wf").unwrap().oid;
        let selection = Selection { root, path: b"wf".to_vec(), tree };
        // Circles are rejected.
        let Ok(planned) = super::plan(&made, &selection, limits, Used::default(), UnsafeLinks::Skip) else { return Ok(()) };
        let delivered = complete(planned);
        let whole = complete(super::plan(&made, &Selection::whole(root), limits, Used::default(), UnsafeLinks::Skip).unwrap());
        let outer = tempfile::tempdir().unwrap();
        let (theirs, ours) = (outer.path().join("theirs"), outer.path().join("ours"));
        for (plan, directory) in [(&whole, &theirs), (&delivered, &ours)] {
            std::fs::create_dir(directory).unwrap();
            write(&made, plan, directory);
        }
        let names = ["", "d", "f", "g", "x", "y", "z"];
        for a in names {
            for b in names {
                for c in names {
                    let path = format!("{a}/{b}/{c}").replace("//", "/");
                    let path = path.trim_matches('/');
                    let read = |root: std::path::PathBuf| std::fs::read(root.join(path)).ok();
                    proptest::prop_assert_eq!(read(theirs.join("wf")), read(ours.clone()), "{} of {:?}", path, &lines);
                }
            }
        }
    }
}
