//! Follows a symlink within one directory and all that is below it.
//!
//! The text of a target is not enough: `dir/..` leads elsewhere if `dir` is itself a link. Each step is therefore
//! taken as the kernel would take it. Links that leave the directory are resolved by [`super::resolve`].

use std::collections::{HashMap, HashSet};

use super::name;

/// Links that may be followed for one link; the kernel's own limit.
pub const MAX_HOPS: usize = 40;
/// Bytes of paths that may be looked up for all links together. A target holds up to 2000 steps, each
/// of which may be a link with as many.
const MAX_LOOKED_UP: usize = 64 << 20;
/// Longest target that Linux takes, in bytes.
pub const MAX_TARGET: u64 = 4095;

pub const ABSOLUTE: &str = "an absolute symlink";
pub const INTO_DOT_GIT: &str = "a symlink into `.git`";
/// The target of `..` depends on the submodule's own repository: the components before it may be a link there.
pub const UP_WITHIN_SUBMODULE: &str = "a symlink that leads up within a submodule";

/// Targets of links, by path.
pub type Symlinks = HashMap<Vec<u8>, Vec<u8>>;

/// The entries of a directory that a path may lead through and that are no plain files or directories.
#[derive(Debug, Default)]
pub struct Special {
    pub links: Symlinks,
    pub submodules: HashSet<Vec<u8>>,
}

/// The result of following one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It stays inside, whether or not its target exists.
    Inside,
    /// It leads out, by itself or by way of others.
    Leaves,
    /// It can only be left out.
    Unsafe(&'static str),
    /// It must never be written, whatever the settings.
    Rejected(&'static str),
}

/// Follows links. A component that does not exist is taken for a directory, because a link may dangle.
pub struct LinkFollower<'a> {
    special: &'a Special,
    /// The directory's own path, which all paths start with.
    directory: &'a [u8],
    looked_up: usize,
}

impl<'a> LinkFollower<'a> {
    pub fn new(special: &'a Special, directory: &'a [u8]) -> Self {
        Self { special, directory, looked_up: 0 }
    }

    /// Follows the link at `path` with this `target`.
    pub fn follow(&mut self, path: &[u8], target: &[u8]) -> Followed {
        if let Some(why) = malformed(target) {
            return Followed::Rejected(why);
        }
        let mut at = components(path);
        let base = components(self.directory).len();
        at.pop();
        let mut todo: Vec<Vec<u8>> = Vec::new();
        let mut hops = 0;
        // Depth of the submodule that is walked through.
        let mut submodule = None;
        if !push_target(target, &mut todo) {
            return Followed::Unsafe(ABSOLUTE);
        }
        while let Some(step) = todo.pop() {
            match step.as_slice() {
                b"" | b"." => continue,
                b".." if submodule.is_some_and(|depth| at.len() > depth) => {
                    return Followed::Unsafe(UP_WITHIN_SUBMODULE);
                }
                b".." if at.len() > base => {
                    submodule = None;
                    at.pop();
                    continue;
                }
                b".." => return Followed::Leaves,
                other if name::is_dot_git(other) => return Followed::Rejected(INTO_DOT_GIT),
                _ => at.push(step),
            }
            let here = at.join(&b'/');
            self.looked_up += here.len();
            if self.looked_up > MAX_LOOKED_UP {
                return Followed::Rejected("a symlink that leads through too many others");
            }
            if submodule.is_none() && self.special.submodules.contains(&here) {
                submodule = Some(at.len());
            }
            if let Some(target) = self.special.links.get(&here) {
                hops += 1;
                if hops > MAX_HOPS {
                    // A loop leads nowhere, so it can't lead out.
                    return Followed::Inside;
                }
                at.pop();
                if !push_target(target, &mut todo) {
                    return Followed::Unsafe(ABSOLUTE);
                }
            }
        }
        Followed::Inside
    }
}

/// Returns the reason for which no file system takes a link with this target.
pub fn malformed(target: &[u8]) -> Option<&'static str> {
    (target.is_empty() || target.contains(&0)).then_some("a symlink without a proper target")
}

/// Splits a path; the empty path has no components.
pub fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Puts a target's steps on top of those that remain; false for an absolute target.
pub fn push_target(target: &[u8], todo: &mut Vec<Vec<u8>>) -> bool {
    todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
    !target.starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(links: &[(&str, &str)]) -> Special {
        let links = links.iter().map(|(path, target)| (path.as_bytes().to_vec(), target.as_bytes().to_vec()));
        Special { links: links.collect(), submodules: HashSet::from([b"m".to_vec()]) }
    }

    fn follow(path: &str, links: &[(&str, &str)]) -> Followed {
        let special = special(links);
        LinkFollower::new(&special, b"").follow(path.as_bytes(), &special.links[path.as_bytes()])
    }

    #[test]
    fn links_that_stay_inside() {
        for (path, target) in [
            ("a", "b"),
            ("a", "./b/../c"),
            ("a", "missing/x"),
            ("d/a", "../b"),
            ("d/e/a", "../../b"),
            ("d/a", ".."),
            ("a", "."),
            ("a", "a"),
            ("a", "..b"),
            ("a", "m/x"),
            ("a", "m/../b"),
            ("a", "m/./../m/x"),
        ] {
            assert_eq!(follow(path, &[(path, target)]), Followed::Inside, "{path} -> {target}");
        }
    }

    #[test]
    fn links_out_of_the_directory() {
        for (path, target) in
            [("a", ".."), ("a", "../x"), ("d/a", "../../x"), ("d/a", "../d/../../x"), ("a", "x/../../y")]
        {
            assert_eq!(follow(path, &[(path, target)]), Followed::Leaves, "{path} -> {target}");
        }
        for (path, target) in [("a", "/etc/passwd"), ("a", "/"), ("a", "m/x/../../.."), ("a", "m/x/..")] {
            assert!(matches!(follow(path, &[(path, target)]), Followed::Unsafe(_)), "{path} -> {target}");
        }
    }

    #[test]
    fn links_that_are_never_written() {
        for (path, target) in [("a", ""), ("a", "b\0c"), ("a", ".git/config"), ("d/a", "../.GIT/hooks")] {
            assert!(matches!(follow(path, &[(path, target)]), Followed::Rejected(_)), "{path} -> {target}");
        }
    }

    #[test]
    fn links_out_of_the_directory_through_other_links() {
        let links = [("sub/up", ".."), ("sub/x/evil", "../up/../outside")];
        assert_eq!(follow("sub/x/evil", &links), Followed::Leaves);
        assert_eq!(follow("sub/up", &links), Followed::Inside);
        let links = [("one", "two"), ("two", "three"), ("three", "d/../..")];
        for (path, _) in links {
            assert_eq!(follow(path, &links), Followed::Leaves, "{path}");
        }
        assert_eq!(follow("one", &[("one", "two"), ("two", "/")]), Followed::Unsafe(ABSOLUTE));
    }

    #[test]
    fn paths_below_a_directory_leave_it_upwards() {
        let special = special(&[("top/d/a", "../x"), ("top/d/b", "../../x")]);
        let mut follower = LinkFollower::new(&special, b"top");
        assert_eq!(follower.follow(b"top/d/a", b"../x"), Followed::Inside);
        assert_eq!(follower.follow(b"top/d/b", b"../../x"), Followed::Leaves);
    }

    #[test]
    fn detects_loops() {
        assert_eq!(follow("a", &[("a", "b"), ("b", "a")]), Followed::Inside);
        assert_eq!(follow("a", &[("a", "a/a/a/a")]), Followed::Inside);
    }

    #[test]
    fn follows_a_bounded_number_of_nested_links() {
        let name = "n".repeat(200);
        let steps = format!("{name}/../").repeat(19) + "x";
        let links = (0..20_000).map(|n| (format!("{n}").into_bytes(), steps.clone().into_bytes())).collect();
        let special = Special { links, ..Special::default() };
        let mut follower = LinkFollower::new(&special, b"");
        assert_eq!(follower.follow(b"0", steps.as_bytes()), Followed::Inside);
        follower.looked_up = MAX_LOOKED_UP - 1000;
        assert!(matches!(follower.follow(b"0", steps.as_bytes()), Followed::Rejected(_)));
    }

    proptest::proptest! {
        /// Directories `a` and `a/b`, links anywhere in them: the kernel is asked where each accepted one leads.
        #[test]
        fn links_that_stay_inside_never_lead_the_kernel_out(
            made in proptest::collection::hash_map("(a/|a/b/)?[xyz]", "([.]{1,2}|a|b|x|y|z)(/([.]{1,2}|a|b|x|y|z)){0,4}", 1..7)
        ) {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("root");
            std::fs::create_dir_all(root.join("a/b")).unwrap();
            let links = made.iter().map(|(path, target)| (path.clone().into_bytes(), target.clone().into_bytes()));
            let special = Special { links: links.collect(), ..Special::default() };
            let mut follower = LinkFollower::new(&special, b"");
            // As in a delivery, the others are left out.
            let kept: Vec<_> = made
                .iter()
                .filter(|(path, target)| follower.follow(path.as_bytes(), target.as_bytes()) == Followed::Inside)
                .collect();
            for (path, target) in &kept {
                std::os::unix::fs::symlink(target, root.join(path)).unwrap();
            }
            let real_root = root.canonicalize().unwrap();
            for (path, _) in &kept {
                if let Ok(led_to) = root.join(path).canonicalize() {
                    proptest::prop_assert!(led_to.starts_with(&real_root), "{path} of {made:?} leads to {led_to:?}");
                }
            }
        }
    }
}
