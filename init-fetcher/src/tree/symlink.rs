//! Where a symlink leads, followed within what is delivered.
//!
//! A look at the target's text is not enough: `dir/..` leads elsewhere where `dir` is itself a link.
//! So each step is taken as the kernel would take it, over the list of what will be on disk.

use std::collections::HashMap;

use super::name;

/// Links that may be followed for one link; the kernel's own limit.
const MAX_HOPS: usize = 40;
/// Bytes of paths that may be looked up for all links together. A target has room for 2000 steps, each
/// of which may be a link with as many.
const MAX_LOOKED_UP: usize = 64 << 20;
/// Longest target that Linux takes, in bytes.
pub const MAX_TARGET: u64 = 4095;

/// Targets of links, by path.
pub type Links = HashMap<Vec<u8>, Vec<u8>>;

/// Follows links within a list of all that there will be. What a path leads through and does not exist,
/// is taken for a directory: a link may dangle.
pub struct Follower<'a> {
    links: &'a Links,
    looked_up: usize,
}

impl<'a> Follower<'a> {
    /// Follows within these.
    pub fn new(links: &'a Links) -> Self {
        Self { links, looked_up: 0 }
    }

    /// Why the link at `path` with this `target` must not be written; `None` for a good one.
    pub fn refused(&mut self, path: &[u8], target: &[u8]) -> Option<&'static str> {
        if target.is_empty() || target.contains(&0) {
            return Some("a symlink without a proper target");
        }
        let mut at: Vec<Vec<u8>> = path.split(|&b| b == b'/').map(<[u8]>::to_vec).collect();
        at.pop();
        let mut todo: Vec<Vec<u8>> = Vec::new();
        let mut hops = 0;
        if let Some(why) = push_target(target, &mut todo) {
            return Some(why);
        }
        while let Some(step) = todo.pop() {
            match step.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if at.pop().is_none() {
                        return Some("a symlink that leads out of what is delivered");
                    }
                    continue;
                }
                other if name::is_dot_git(other) => return Some("a symlink into `.git`"),
                _ => at.push(step),
            }
            let here = at.join(&b'/');
            self.looked_up += here.len();
            if self.looked_up > MAX_LOOKED_UP {
                return Some("a symlink that leads through too many others");
            }
            if let Some(target) = self.links.get(&here) {
                hops += 1;
                if hops > MAX_HOPS {
                    // A loop leads nowhere, so it can't lead out.
                    return None;
                }
                at.pop();
                if let Some(why) = push_target(target, &mut todo) {
                    return Some(why);
                }
            }
        }
        None
    }
}

/// Puts a target's steps on top of what is still to be walked.
fn push_target(target: &[u8], todo: &mut Vec<Vec<u8>>) -> Option<&'static str> {
    if target.starts_with(b"/") {
        return Some("an absolute symlink");
    }
    todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, links: &[(&str, &str)]) -> Option<&'static str> {
        let links: Links = links
            .iter()
            .map(|(path, target)| (path.as_bytes().to_vec(), target.as_bytes().to_vec()))
            .collect();
        Follower::new(&links).refused(path.as_bytes(), &links[path.as_bytes()])
    }

    #[test]
    fn accepts_links_that_stay_inside() {
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
        ] {
            assert_eq!(check(path, &[(path, target)]), None, "{path} -> {target}");
        }
    }

    #[test]
    fn rejects_links_that_lead_out() {
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", "/"),
            ("a", ".."),
            ("a", "../x"),
            ("d/a", "../../x"),
            ("d/a", "../d/../../x"),
            ("a", "x/../../y"),
            ("a", ""),
            ("a", "b\0c"),
            ("a", ".git/config"),
            ("d/a", "../.GIT/hooks"),
        ] {
            assert!(check(path, &[(path, target)]).is_some(), "{path} -> {target}");
        }
    }

    #[test]
    fn rejects_links_that_lead_out_by_way_of_other_links() {
        let links = [("sub/up", ".."), ("sub/x/evil", "../up/../outside")];
        assert!(check("sub/x/evil", &links).is_some());
        assert_eq!(check("sub/up", &links), None);
        let links = [("one", "two"), ("two", "three"), ("three", "d/../..")];
        for (path, _) in links {
            assert!(check(path, &links).is_some(), "{path}");
        }
    }

    #[test]
    fn loops_come_to_an_end() {
        assert_eq!(check("a", &[("a", "b"), ("b", "a")]), None);
        assert_eq!(check("a", &[("a", "a/a/a/a")]), None);
    }

    #[test]
    fn links_through_links_through_links_come_to_an_end() {
        let name = "n".repeat(200);
        let steps = format!("{name}/../").repeat(19) + "x";
        let links: Links =
            (0..20_000).map(|n| (format!("{n}").into_bytes(), steps.clone().into_bytes())).collect();
        let mut follower = Follower::new(&links);
        assert_eq!(follower.refused(b"0", steps.as_bytes()), None);
        follower.looked_up = MAX_LOOKED_UP - 1000;
        assert!(follower.refused(b"0", steps.as_bytes()).is_some());
    }

    proptest::proptest! {
        /// Directories `a` and `a/b`, links anywhere in them: the kernel is asked where each accepted one leads.
        #[test]
        fn what_is_accepted_never_leads_the_kernel_out(
            made in proptest::collection::hash_map("(a/|a/b/)?[xyz]", "([.]{1,2}|a|b|x|y|z)(/([.]{1,2}|a|b|x|y|z)){0,4}", 1..7)
        ) {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("root");
            std::fs::create_dir_all(root.join("a/b")).unwrap();
            let links: Links =
                made.iter().map(|(path, target)| (path.clone().into_bytes(), target.clone().into_bytes())).collect();
            // As in a delivery, one refused link refuses all.
            let mut follower = Follower::new(&links);
            if links.iter().any(|(path, target)| follower.refused(path, target).is_some()) {
                return Ok(());
            }
            for (path, target) in &made {
                std::os::unix::fs::symlink(target, root.join(path)).unwrap();
            }
            let real_root = root.canonicalize().unwrap();
            for path in made.keys() {
                if let Ok(led_to) = root.join(path).canonicalize() {
                    proptest::prop_assert!(led_to.starts_with(&real_root), "{path} of {made:?} leads to {led_to:?}");
                }
            }
        }
    }
}
