use super::*;

fn parse(text: &str) -> RepoUrl {
    RepoUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn reads_every_form() {
    for (text, scheme, host, port, name, alias) in [
        ("https://github.com/org/repo.git", Scheme::Https, "github.com", 443, "repo", None),
        ("https://GitHub.com/org/repo/", Scheme::Https, "github.com", 443, "repo", None),
        ("https://gitlab.com/group/sub/repo.git", Scheme::Https, "gitlab.com", 443, "repo", Some("sub")),
        ("https://h:8443/a/repo/repo.git", Scheme::Https, "h", 8443, "repo", None),
        ("http://10.0.0.1:3000/repo", Scheme::Http, "10.0.0.1", 3000, "repo", None),
        ("https://[::1]:8443/a/b", Scheme::Https, "[::1]", 8443, "b", None),
        ("ssh://git@h/a/b/c.git", Scheme::Ssh, "h", 22, "c", None),
        ("git@github.com:org/repo.git", Scheme::Ssh, "github.com", 22, "repo", None),
        ("git@[::1]:p", Scheme::Ssh, "[::1]", 22, "p", None),
        ("git@[h:2222]:a/b", Scheme::Ssh, "h", 2222, "b", None),
        ("[git@h:2222]:a/b", Scheme::Ssh, "h", 2222, "b", None),
        ("https://h/org/.github", Scheme::Https, "h", 443, ".github", None),
        ("https://h/org/.github.git", Scheme::Https, "h", 443, ".github", None),
        ("https://h/org/.config/x", Scheme::Https, "h", 443, "x", Some(".config")),
    ] {
        let url = parse(text);
        assert_eq!(
            (url.scheme(), url.host(), url.port(), url.name(), url.alias()),
            (scheme, host, port, name, alias),
            "{text}"
        );
    }
}

#[test]
fn distinguishes_unsupported_schemes_from_malformed_urls() {
    for text in ["ftp://h/r", "git://h/r", "file:///etc/passwd", "svn+ssh://h/r", "ext::sh -c id://x"] {
        let error = RepoUrl::parse(text).unwrap_err();
        assert_eq!(matches!(error, UrlError::Scheme { .. }), !text.contains(' '), "{text}");
    }
    for text in [
        "",
        " https://h/r",
        "https://h/r\n",
        "h/r",
        "not a url",
        "https://",
        "https:///r",
        "https://h",
        "https://h/",
        "https://h:0/r",
        "https://h:x/r",
        "https://h:99999/r",
        "https://h/r?x=1",
        "https://h/r#x",
        "https://h\\r/x",
        "https://h/a/..",
        "https://h/a/%2E%2e",
        "https://h/../r",
        "https://h/.git",
        "https://h/a/.git.git",
        "https://h/a/.GIT/c",
        "https://h/a/.init-workflow-x",
        "https://h/a/..git",
        "https://h/a/...git",
        "git@[::1]p",
        "git@[::1:p",
        "git@[h:0]:p",
        "git@[h:x]:p",
        "[git@h:22:p",
        "[h:22]:p",
        "git@h:",
        "git@h",
        "@h:p",
        "-oProxyCommand=x@h:p",
        "git@-oProxyCommand=x:p",
        "git@h:-x",
        "ssh://-oProxyCommand=x@h/p",
        "ssh://%2doProxyCommand=x@h/p",
        "ssh://-oProxyCommand=x/p",
        "ssh://a%0ab@h/p",
        "ssh://h/a%0ab",
        "ssh://h/a%00",
        "ssh://h/%ff",
        "--upload-pack=x",
        "1s://h/r",
        "git@h:a/..",
        &format!("https://h/{}", "x".repeat(300)),
        &format!("https://h/{}", "x/".repeat(2048)),
    ] {
        assert!(matches!(RepoUrl::parse(text), Err(UrlError::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn shows_the_url_as_written_less_the_userinfo() {
    for (text, shown) in [
        ("https://Example.com/Org/Repo.git", "https://Example.com/Org/Repo.git"),
        ("https://user:s3cret@h/a/b", "https://h/a/b"),
        ("https://s3cret@h:8443/a/b", "https://h:8443/a/b"),
        ("https://u:s3cret@x@h/a@b", "https://h/a@b"),
        ("ssh://git:s3cret@h/a", "ssh://h/a"),
        ("git@h:a/b", "h:a/b"),
        ("[git@h:2222]:a/b", "[h:2222]:a/b"),
    ] {
        let url = parse(text);
        assert_eq!(url.to_string(), shown);
        assert!(!format!("{url:?}").contains("s3cret"));
    }
}

#[test]
fn errors_never_show_userinfo() {
    for text in [
        "https://u:s3cret@",
        "https//u:s3cret@h/r",
        "https://u:s3/cret@h/r",
        "https://u:s3cret@h:x/r",
        "ftp://u:s3cret@h/r",
        "u:s3cret@h:r",
        "https://u:s3cret @h/r",
        "https://u:s3cret@h/r?x",
        "https://u:12#s3cret@h/r",
        "https://s3cret#x@h/r",
        "https://s3cret?x@h/r",
        "https://u:12\\s3cret@h/r",
        "https://h/r.git?private_token=s3cret",
        "https://h/r#s3cret",
    ] {
        let error = RepoUrl::parse(text).unwrap_err().to_string();
        assert!(!error.contains("s3") && !error.contains("cret"), "{text}: {error}");
    }
}

#[test]
fn a_server_is_given_the_path_as_git_gives_it() {
    for (text, path) in [
        ("ssh://git@h/srv/a.git", "/srv/a.git"),
        ("ssh://h:2222/~me/a", "~me/a"),
        ("ssh://h/~/a", "~/a"),
        ("ssh://h/a%20b'%27c", "/a b''c"),
        ("git@h:a/b", "a/b"),
        ("git@h:/a/b", "/a/b"),
        ("git@h:~/a%20b", "~/a%20b"),
    ] {
        assert_eq!(parse(text).remote_path(), path, "{text}");
    }
}

#[test]
fn the_address_has_no_credential_but_sshs_user() {
    for (text, address) in [
        ("https://me:s3cret@h/a", "https://h/a"),
        ("ssh://me:s3cret@H:2222/a", "ssh://me@h:2222/a"),
        ("ssh://m%40e%22@h/a", "ssh://m%40e%22@h/a"),
        ("ssh://:s3cret@h/a", "ssh://h/a"),
        ("git@h:a/b", "git@h:a/b"),
        ("git@h:/a/b", "git@h:/a/b"),
        ("git@[::1]:a/b", "git@[::1]:a/b"),
        ("git@[h:2222]:a/b", "[git@h:2222]:a/b"),
    ] {
        assert_eq!(parse(text).address(), address);
    }
}

#[test]
fn userinfo_is_decoded() {
    let url = parse("https://us%40er:p%3Aw%2f@h/r");
    let info = url.userinfo().unwrap();
    assert_eq!((info.username.expose(), info.password.expose()), ("us@er", "p:w/"));
    let spaced = parse("https://u%20:%20p%20%0a@h/r");
    assert_eq!(spaced.userinfo().unwrap().password.expose(), " p \n", "a password keeps its white space");
    assert_eq!(url.without_userinfo(), "https://h/r");
    let token = parse("https://t0ken@h:444/r");
    assert_eq!(token.userinfo().unwrap().username.expose(), "t0ken");
    assert_eq!(token.without_userinfo(), "https://h:444/r");
}

#[test]
fn page_addresses_with_a_query_name_the_source_to_use() {
    for (url, expected) in [
        (
            "https://dev.azure.com/org/project/_git/repo?path=/x&version=GBmain",
            "that is the address of a page; use URL https://dev.azure.com/org/project/_git/repo, branch main, path x",
        ),
        (
            "https://me:s3cret@h/org/repo/blob/v1/README.md#L3",
            "that is the address of a page; use URL https://h/org/repo, branch v1",
        ),
        ("https://h/org/repo.git?x=y", "it must not contain a query, a fragment or a backslash"),
    ] {
        let message = RepoUrl::parse(url).unwrap_err().to_string();
        assert!(message.ends_with(expected) && !message.contains("s3cret"), "{message}");
    }
}
