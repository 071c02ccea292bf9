//! The repositories, the same in every run.

use workflow_git_server::{GitServer, Repository, RepositoryBuilder};

/// A repository, and the directory to fetch.
pub struct Bench {
    /// Name in the table.
    pub name: &'static str,
    /// The repository.
    pub repository: Repository,
    /// Limit of the whole repository, as a share of git clone's time.
    pub whole: f64,
    /// The same for the directory; `None` if only the whole repository is measured.
    pub sub_path: Option<f64>,
}

impl Bench {
    /// Returns the paths to fetch, each with its limit.
    pub fn paths(&self) -> Vec<(&'static str, f64)> {
        let sub_path = self.sub_path.map(|limit| (PATH, limit));
        [("", self.whole)].into_iter().chain(sub_path).collect()
    }
}

/// The directory to fetch, three levels deep: 20 files.
const PATH: &str = "deploy/prod/app";

/// Makes them.
pub fn make(server: &GitServer) -> Vec<Bench> {
    let bench =
        |name, sub_path, repository| Bench { name, repository, whole: 0.75, sub_path: Some(sub_path) };
    let middle = |builder| text(builder, 1_500, 11_000, 20);
    vec![
        bench("130 kB", 0.55, text(server.repository("small"), 60, 6_000, 4)),
        bench("5 MB", 0.12, middle(server.repository("middle"))),
        bench("300 MB", 0.015, large(server)),
        Bench {
            name: "5 MB, SHA-256",
            repository: middle(server.repository("sha256").sha256()),
            whole: 0.9,
            sub_path: None,
        },
    ]
}

/// A repository as people have them: text in directories, some commits, packed by `git repack`.
fn text(mut builder: RepositoryBuilder, files: u64, size: u64, commits: u64) -> Repository {
    let mut random = Random(files);
    for file in 0..files {
        let content = random.text(size);
        builder = builder.file(&path(file), content);
    }
    for commit in 0..commits {
        for file in (commit..files).step_by(17) {
            let content = random.text(size);
            builder = builder.file(&path(file), content);
        }
        builder = builder.commit("Change some files");
    }
    let repository = builder.create().expect("a repository");
    repository.git(&["repack", "-a", "-d", "-q"]).expect("a packed repository");
    repository
}

/// 20,000 files of 15 kB that hardly compress.
fn large(server: &GitServer) -> Repository {
    const FILES: u64 = 20_000;
    const SIZE: u64 = 15_000;
    let mut random = Random(7);
    let mut builder = server.repository("large");
    for file in 0..FILES {
        builder = builder.file(&path(file), random.bytes(SIZE));
    }
    builder.create().expect("a repository")
}

/// Twenty files in the directory to fetch, the others in directories of some thirty.
fn path(file: u64) -> String {
    match file {
        0..20 => format!("{PATH}/file-{file}.yaml"),
        _ => format!("src/part-{}/module-{}/file-{file}.rs", file % 7, file / 7 / 30),
    }
}

/// A generator of numbers that are always the same (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Lines of words, of which some are frequent: about as many bytes.
    fn text(&mut self, about: u64) -> Vec<u8> {
        let size = usize::try_from(about / 2 + self.below(about)).expect("a size");
        let mut text = Vec::with_capacity(size + 32);
        while text.len() < size {
            let word = self.below(2_000) * self.below(2_000) / 2_000;
            text.extend(format!("{:x}", word * word * 7_919).bytes());
            text.push(if self.below(9) == 0 { b'\n' } else { b' ' });
        }
        text
    }

    /// Seven random bytes of every eight.
    fn bytes(&mut self, size: u64) -> Vec<u8> {
        (0..size / 8).flat_map(|_| (self.next() >> 8).to_le_bytes()).collect()
    }
}
