//! Hostile repositories, from a real git server: unsafe content is 41 or left
//! out, what is too much is 40, unusual content is delivered; within bounded memory, and nothing is written elsewhere.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{Ended, Fetch, git, input_bytes, of_disk, of_git, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Profile, Repository};

/// Memory that a run may use, whatever it meets, in MiB.
const MEMORY: u32 = 128;

/// A repository whose objects are written one by one.
struct Crafted {
    repository: Repository,
}

impl Crafted {
    fn new(server: &GitServer, name: &str, profile: Profile) -> Self {
        let repository = server.repository(name).file("README.md", "x").profile(profile).create().unwrap();
        Self { repository }
    }

    fn run(&self, args: &[&str], text: impl AsRef<[u8]>) -> String {
        let mut command = git(Some(self.repository.path()));
        command.args(args);
        input_bytes(command, text.as_ref()).trim().to_owned()
    }

    fn blob(&self, content: impl AsRef<[u8]>) -> String {
        self.run(&["hash-object", "-w", "--stdin"], content)
    }

    /// A tree as `git mktree` makes it: entries `MODE ID NAME`, sorted, whatever their names.
    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut lines = String::new();
        for (mode, id, name) in entries {
            let kind = match *mode {
                "40000" => "tree",
                "160000" => "commit",
                _ => "blob",
            };
            write!(lines, "{mode} {kind} {id}\t{name}\0").unwrap();
        }
        self.run(&["mktree", "--missing", "-z"], lines)
    }

    /// An entry of this kind and name, with all that it needs.
    fn thing(&self, mode: &str, name: &str) -> String {
        let id = match mode {
            "40000" => self.tree(&[]),
            "160000" => "7".repeat(40),
            _ => self.blob("x"),
        };
        self.tree(&[(mode, &id, name)])
    }

    /// The tree in a directory of a directory.
    fn below(&self, tree: &str) -> String {
        let inner = self.tree(&[("40000", tree, "deep")]);
        self.tree(&[("40000", &inner, "top"), ("100644", &self.blob("1"), "other")])
    }

    /// Puts a tree on a branch.
    fn publish(&self, branch: &str, tree: &str) {
        let commit = self.run(&["commit-tree", "-m", "x", tree], "");
        self.repository.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]).unwrap();
    }

    fn fetch(&self, server: &GitServer, branch: &str, path: &str) -> Fetch {
        Fetch::new(server, self.repository.url()).branch(branch).path(path)
    }
}

/// Runs it; it must end like this, and leave nothing wherever it may have written.
fn refused(fetch: &Fetch, exit: Exit, case: &str) -> Ended {
    let ended = fetch.run_within(MEMORY);
    assert_eq!(ended.code, i32::from(exit.code()), "{case}: {}\n{}", ended.message, ended.stderr);
    ended.expect(exit);
    assert_eq!(fetch.residue(&[]), Vec::<String>::new(), "{case}");
    let beside: Vec<_> =
        fs::read_dir(fetch.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(beside.iter().all(|name| name == "root" || name == "message"), "{case}: {beside:?}");
    ended
}

#[test]
fn rejects_unsafe_names_at_any_depth_and_of_any_kind() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    let long = "x".repeat(256);
    let page = "y".repeat(4096);
    let names = [
        ".git",
        ".GIT",
        ".gIt",
        ".git.",
        ".git ",
        ".git . .",
        ".git:stream",
        ".git::$INDEX_ALLOCATION",
        "git~1",
        "GIT~1",
        "Git~1 .",
        "git~1:x",
        ".g\u{200c}it",
        "\u{feff}.git",
        ".gi\u{206f}T",
        ".git\u{202e}",
        "a\\.git",
        ".git\\hooks\\post-checkout",
        "..",
        ".",
        &long,
        &page,
    ];
    let modes = ["100644", "40000", "120000", "160000", "100755"];
    for (number, name) in names.iter().enumerate() {
        // Each kind in turn, and each at the root or deep.
        let mode = modes[number % modes.len()];
        let (tree, path) = match (crafted.thing(mode, name), number % 3) {
            (tree, 0) => (tree, ""),
            (tree, 1) => (crafted.below(&tree), ""),
            (tree, _) => (crafted.below(&tree), "top"),
        };
        crafted.publish("main", &tree);
        let case = format!("{mode} {:?} below {path:?}", name.get(..20).unwrap_or(name));
        let ended = refused(&crafted.fetch(&server, "main", path), Exit::UnsafeContent, &case);
        assert!(ended.message.contains("not safe to write"), "{case}: {}", ended.message);
    }
}

#[test]
fn ignores_entries_beside_the_wanted_directory() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    let good = crafted.thing("100644", "prompt.md");
    let bad = crafted.thing("100644", ".git");
    crafted.publish("main", &crafted.tree(&[("40000", &good, "good"), ("40000", &bad, "bad")]));
    for (path, exit) in [("good", Exit::Reconciled), ("bad", Exit::UnsafeContent), ("", Exit::UnsafeContent)]
    {
        crafted.fetch(&server, "main", path).run_within(MEMORY).expect(exit);
    }
}

#[test]
fn hostile_links_are_never_written() {
    let server = server();
    for profile in [Profile::Filters, Profile::NoFilters] {
        let crafted = Crafted::new(&server, &format!("{profile:?}").to_lowercase(), profile);
        let dir = crafted.thing("100644", "file");
        let long = "x/".repeat(2100);
        // Links by name and target, all in one directory beside the directory `d`; whether the first is left out.
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[("a", "/etc/passwd")], true),
            (&[("a", "../..")], true),
            (&[("a", "d/../../../x")], true),
            (&[("a", "../../top/a")], true),
            // By way of others: `up` is harmless by itself, `d/../..` is not where `d` is a link.
            (&[("a", "up/../../../x"), ("up", "d")], true),
            (&[("one", "two"), ("two", "three"), ("three", "/")], true),
            (&[("a", ".git/config")], false),
            (&[("a", "d/.GIT/../file")], false),
            (&[("a", &long)], false),
        ];
        for (links, left_out) in cases {
            let blobs: Vec<_> = links.iter().map(|(name, to)| (*name, crafted.blob(to))).collect();
            let mut entries: Vec<_> =
                blobs.iter().map(|(name, blob)| ("120000", blob.as_str(), *name)).collect();
            entries.push(("40000", &dir, "d"));
            let tree = crafted.tree(&entries);
            crafted.publish("main", &crafted.tree(&[("40000", &tree, "top")]));
            let case = format!("{profile:?} {:?}", &links[0]);
            for path in ["", "top"] {
                let fetch = crafted.fetch(&server, "main", path);
                if left_out {
                    let ended = fetch.run_within(MEMORY);
                    let name = format!("`top/{}`", links[0].0);
                    assert!(ended.expect(Exit::Reconciled).contains(&name), "{case}: {}", ended.message);
                    let place = fetch.root().join(format!("{profile:?}").to_lowercase());
                    let place = if path.is_empty() { place.join("top") } else { place };
                    assert!(fs::symlink_metadata(place.join(links[0].0)).is_err(), "{case}");
                }
                let fetch = crafted.fetch(&server, "main", path).var("WORKFLOW_UNSAFE_LINKS", "refuse");
                refused(&fetch, Exit::UnsafeContent, &case);
            }
        }
    }
}

#[test]
fn rejects_a_symlink_as_gitmodules() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    for name in [".gitmodules", ".GITMODULES ", "gitmod~1"] {
        crafted.publish("main", &crafted.thing("120000", name));
        refused(&crafted.fetch(&server, "main", ""), Exit::UnsafeContent, name);
    }
}

#[test]
fn rejects_duplicate_names() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::NoFilters);
    let (blob, dir, module) = (crafted.blob("../.."), crafted.thing("100644", "inside"), "7".repeat(40));
    for (first, second) in [("100644", "100755"), ("120000", "40000"), ("100644", "160000")] {
        let id = |mode| match mode {
            "40000" => &dir,
            "160000" => &module,
            _ => &blob,
        };
        let tree = crafted.tree(&[(first, id(first), "a"), (second, id(second), "a")]);
        crafted.publish("main", &crafted.below(&tree));
        for path in ["", "top"] {
            refused(&crafted.fetch(&server, "main", path), Exit::UnsafeContent, &format!("{first} {second}"));
        }
    }
}

#[test]
fn odd_names_are_delivered_and_never_break_a_message() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    let blob = crafted.blob("x");
    let longest = "z".repeat(255);
    // As bytes, names that differ in case are two; so they are on the volume.
    let names = [
        "a\nb",
        "\u{1b}[31mred",
        "\r",
        "\u{202e}txt",
        "README",
        "readme",
        "-rf",
        "~",
        "c:",
        "com1",
        &longest,
    ];
    let entries: Vec<_> = names.iter().map(|name| ("100644", blob.as_str(), *name)).collect();
    let tree = crafted.tree(&entries);
    crafted.publish("main", &tree);
    for path in ["", "top/deep"] {
        if !path.is_empty() {
            crafted.publish("main", &crafted.below(&tree));
        }
        let fetch = crafted.fetch(&server, "main", path);
        let ended = fetch.run_within(MEMORY);
        ended.expect(Exit::Reconciled);
        let published = fetch.root().join("flow");
        let delivered =
            fs::read_dir(&published).unwrap().filter(|e| e.as_ref().unwrap().file_name() != ".git");
        assert_eq!(delivered.count(), names.len(), "{path}");
    }
    let bad = crafted.tree(&[("40000", &crafted.thing("100644", ".git"), "x\n{\"v\":1}\u{1b}[2J")]);
    crafted.publish("main", &bad);
    let ended = refused(&crafted.fetch(&server, "main", ""), Exit::UnsafeContent, "control characters");
    assert!(!ended.message.contains('\u{1b}'), "{:?}", ended.message);
}

#[test]
fn leaves_submodules_empty_for_any_gitmodules() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    let list = "[submodule \"../../x\"]\n\tpath = ../../x\n\turl = -oProxyCommand=touch /tmp/x\n\
                [submodule \"m\"]\n\tpath = m\n\turl = --upload-pack=touch\n\tupdate = !touch /tmp/x\n";
    let (list, module) = (crafted.blob(list), "7".repeat(40));
    let inner = crafted.tree(&[("160000", &module, "-m"), ("100644", &list, ".gitmodules")]);
    let tree =
        crafted.tree(&[("100644", &list, ".gitmodules"), ("160000", &module, "m"), ("40000", &inner, "d")]);
    crafted.publish("main", &tree);
    for (path, expected) in [("", "2 submodules are not fetched"), ("d", "1 submodule is not fetched")] {
        let fetch = crafted.fetch(&server, "main", path);
        let ended = fetch.run_within(MEMORY);
        assert!(ended.expect(Exit::Reconciled).contains(expected), "{}", ended.message);
        let place = fetch.root().join("flow");
        assert_eq!(of_disk(&place), of_git(&crafted.repository, "main", path));
        let fetch = crafted.fetch(&server, "main", path).var("WORKFLOW_SUBMODULES", "recursive");
        let ended = refused(&fetch, Exit::InvalidSource, path);
        assert!(ended.message.contains("submodule `"), "{}", ended.message);
        assert!(!std::path::Path::new("/tmp/x").exists(), "nothing is executed");
        if path.is_empty() {
            let config = fs::read_to_string(place.join(".git/config")).unwrap();
            assert!(!config.contains("submodule") && !place.join(".git/modules").exists(), "{config}");
        }
    }
}

#[test]
fn exceeded_limits_are_too_large_in_little_memory() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    // Not to wait for the server's compression.
    crafted.repository.git(&["config", "core.compression", "0"]).unwrap();

    // Ten levels of the same directory ten times: 10^10 files in eleven objects.
    let mut bomb = crafted.thing("100644", "file");
    for _ in 0..10 {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| ("40000", bomb.as_str(), name.as_str())).collect();
        bomb = crafted.tree(&entries);
    }
    crafted.publish("directories", &crafted.below(&bomb));

    // Paths that are longer than the kernel takes.
    let mut long = crafted.thing("100644", "file");
    for _ in 0..20 {
        long = crafted.tree(&[("40000", &long, &"l".repeat(200))]);
    }
    crafted.publish("long", &crafted.below(&long));

    // More files in one directory than are allowed in all.
    let blob = crafted.blob("x");
    let mut lines = String::new();
    for n in 0..250_000 {
        writeln!(lines, "100644 blob {blob}\t{n:06}").unwrap();
    }
    crafted.publish("wide", &crafted.below(&crafted.run(&["mktree", "--missing"], lines)));

    for filter in ["true", "false"] {
        crafted.repository.git(&["config", "uploadpack.allowFilter", filter]).unwrap();
        for branch in ["directories", "long", "wide"] {
            let path = if filter == "true" && branch == "wide" { "" } else { "top" };
            let case = format!("{branch} below {path:?}, filter: {filter}");
            refused(&crafted.fetch(&server, branch, path), Exit::TooLarge, &case);
        }
    }
}

#[test]
fn expanding_content_is_too_large_or_read_in_little_memory() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::NoFilters);
    let zeros = crafted.blob(vec![0; 48 << 20]);
    crafted.publish("main", &crafted.below(&crafted.tree(&[("100644", &zeros, "zeros")])));
    for path in ["", "top"] {
        // Received they are some 50 kB.
        let fetch = crafted.fetch(&server, "main", path).var("WORKFLOW_MAX_BYTES", "40Mi");
        refused(&fetch, Exit::TooLarge, path);
    }
    let fetch = crafted.fetch(&server, "main", "top");
    fetch.run_within(32).expect(Exit::Reconciled);
    assert_eq!(fs::metadata(fetch.root().join("flow/deep/zeros")).unwrap().len(), 48 << 20);
}

#[test]
fn rejects_a_commit_with_an_oversized_message() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    let tree = crafted.thing("100644", "file");
    let commit = crafted.run(&["commit-tree", &tree], "x".repeat(8 << 20));
    crafted.repository.git(&["update-ref", "refs/heads/main", &commit]).unwrap();
    for path in ["", "x"] {
        refused(&crafted.fetch(&server, "main", path), Exit::TooLarge, path);
    }
}

#[test]
fn tags_of_tags_are_followed_for_a_while() {
    let server = server();
    let crafted = Crafted::new(&server, "flow", Profile::Filters);
    crafted.repository.git(&["update-ref", "refs/tags/t0", "main"]).unwrap();
    for n in 1..=30 {
        let (name, before) = (format!("t{n}"), format!("t{}", n - 1));
        crafted.run(&["-c", "advice.nestedTag=false", "tag", "-a", "-m", "x", &name, &before], "");
    }
    crafted.fetch(&server, "t8", "").run_within(MEMORY).expect(Exit::Reconciled);
    let ended = refused(&crafted.fetch(&server, "t30", ""), Exit::RefNotFound, "30 tags");
    assert!(ended.message.contains("tag chain deeper than 10"), "{}", ended.message);
}

#[test]
fn rejects_repository_names_with_parent_directories() {
    let server = server();
    for path in [
        "..",
        "acme/..",
        "acme/%2e%2e",
        "acme/..git/..",
        "acme/.git",
        "acme/...git",
        "acme/a\nb",
        "acme/a\u{7f}",
        "acme/a b",
        "acme/a\\..\\b",
        &"x".repeat(256),
        &"y".repeat(4096),
        "a/../b/c",
        &format!("a/{}/c", "z".repeat(300)),
    ] {
        let fetch = Fetch::new(&server, &server.url(path));
        refused(&fetch, Exit::InvalidSource, path);
    }
    // Encoded they are names like others, of repositories that are not there, or a bad request.
    for path in ["acme/%0a", "acme/%2f..%2f", "acme/%00", &"w".repeat(255)] {
        let ended = Fetch::new(&server, &server.url(path)).run_within(MEMORY);
        assert!(matches!(ended.code, 20 | 21 | 33), "{path}: {}", ended.message);
        assert_eq!(ended.message.lines().count(), 2);
    }
}
