use super::*;

/// Forge, source, message, meaning. A source is a path in the public repository of the software, another client that
/// parses the message, or a public report; "docs" is the documentation of the forge.
const MESSAGES: [(&str, &str, &str, Meaning); 33] = [
    (
        "Gitea, Forgejo",
        "go-gitea/gitea routers/private/serv.go",
        "error:\nerror: Cannot find repository: alice/nothere\nerror:\n",
        Missing,
    ),
    (
        "Gitea, Forgejo",
        "go-gitea/gitea routers/private/serv.go",
        "Gitea: Public (Deploy) Key: 7:laptop is not authorized to read alice/flow.\n",
        Denied,
    ),
    (
        "Gitea, Forgejo",
        "go-gitea/gitea routers/private/serv.go",
        "User: 3:bob with Key: 7:laptop is not authorized to read alice/flow.\n",
        Denied,
    ),
    ("Gitea", "go-gitea/gitea cmd/serv.go", "Gitea: Unauthorized\n", Denied),
    (
        "Gogs",
        "jesseduffield/go-git plumbing/transport/internal/common",
        "Gogs: Repository does not exist or you do not have access\n",
        Missing,
    ),
    (
        "GitHub",
        "go-git/go-git plumbing/transport/internal/common",
        "ERROR: Repository not found.\nfatal: Could not read from remote repository.\n",
        Missing,
    ),
    ("GitHub", "public reports", "ERROR: Permission to acme/flow.git denied to deploy key\n", Denied),
    (
        "GitHub",
        "public reports",
        "ERROR: The 'acme' organization has enabled or enforced SAML SSO.\nTo access this repository, you must use \
         the HTTPS remote with a personal access token or SSH with an SSH key\n",
        Denied,
    ),
    ("GitHub", "docs", "ERROR: You're using an RSA key with SHA-1, which is no longer allowed.\n", Denied),
    ("GitHub", "docs", "ERROR: Your account is suspended. Please check your email.\n", Denied),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/git_access.rb",
        "remote: \nremote: ====\nremote: \nremote: ERROR: The project you were looking for could not be found or you \
         don't have permission to view it.\nremote: \n",
        Missing,
    ),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/git_access.rb",
        "GitLab: A repository for this project does not exist yet.\n",
        Missing,
    ),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/git_access.rb",
        "GitLab: You are not allowed to download code from this project.\n",
        Denied,
    ),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/git_access.rb",
        "remote: ERROR: Git access over SSH is not allowed\n",
        Denied,
    ),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/auth/user_access_denied_reason.rb",
        "Your account has been blocked.\n",
        Denied,
    ),
    (
        "GitLab",
        "gitlab-org/gitlab lib/gitlab/auth/user_access_denied_reason.rb",
        "Your account has been deactivated by your administrator.\n",
        Denied,
    ),
    (
        "Bitbucket Cloud",
        "go-git/go-git plumbing/transport/internal/common",
        "conq: repository does not exist.\n",
        Missing,
    ),
    (
        "Bitbucket Cloud",
        "public reports",
        "You may not have access to this repository or it no longer exists in this workspace. If you think this \
         repository exists and you have access, make sure you are authenticated.\n",
        Missing,
    ),
    (
        "Bitbucket Cloud",
        "public reports",
        "repository access denied. access via a deployment key is read-only.\n",
        Denied,
    ),
    (
        "Bitbucket Cloud",
        "public reports",
        "Unauthorized\nfatal: Could not read from remote repository.\n",
        Denied,
    ),
    (
        "Bitbucket Data Center",
        "docs",
        "Repository not found\nThe requested repository does not exist, or you do not have permission to access it.\n",
        Missing,
    ),
    (
        "Gerrit",
        "GerritCodeReview/gerrit sshd/AbstractGitCommand.java",
        "fatal: project acme/flow not found\n",
        Missing,
    ),
    (
        "Gerrit",
        "GerritCodeReview/gerrit sshd/commands/Upload.java",
        "fatal: upload-pack not permitted on this server\n",
        Denied,
    ),
    (
        "Azure DevOps",
        "docs",
        "remote: TF401019: The Git repository with name or identifier flow does not exist or you do not have \
         permissions for the operation you are attempting.\n",
        Missing,
    ),
    ("Azure DevOps", "docs", "remote: Public key authentication failed.\n", Denied),
    (
        "Azure DevOps Server",
        "MicrosoftDocs/azure-devops-docs issue 2662",
        "remote:\nremote: Your Git command did not succeed.\nremote: Details:\nremote:         TF14045: The identity \
         with type 'Microsoft.IdentityModel.Claims.ClaimsIdentity' could not be found.\nremote:\n",
        Denied,
    ),
    ("sr.ht", "not verified", "Repository not found.\n", Missing),
    ("sr.ht", "not verified", "Access denied.\n", Denied),
    ("gitolite", "sitaramc/gitolite src/triggers", "FATAL: R any flow alice DENIED by fallthru\n", Denied),
    ("git", "git/git upload-pack", "fatal: '/srv/x' does not appear to be a git repository\n", Missing),
    ("git daemon", "git/git daemon.c", "access denied or repository not exported: /x", Missing),
    ("git daemon", "git/git daemon.c", "no such repository: /x", Missing),
    ("sshd", "any system", "sh: 1: cannot open /srv/x: Permission denied\n", Denied),
];

#[test]
fn classifies_messages_of_forges() {
    for (forge, source, message, expected) in MESSAGES {
        assert_eq!(meaning(message), Some(expected), "{forge} ({source}): {message}");
    }
}

#[test]
fn returns_the_line_between_frames() {
    let message = "error:\nerror: Cannot find repository: alice/nothere\nerror:\n";
    assert_eq!(find(message), Some((Missing, "error: Cannot find repository: alice/nothere")));
}

#[test]
fn other_messages_have_no_meaning() {
    for message in
        ["", "\n", "upload-pack: not our ref", "the server is in maintenance", "internal server error"]
    {
        assert_eq!(meaning(message), None, "{message}");
    }
}
