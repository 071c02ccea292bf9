//! SSH signatures.

use workflow_signatures::SignedKind;

use crate::world::{World, by_ssh, denied, public, same, signed_commit, ssh_sign, ssh_signers, trusted};

/// A commit signed by an Ed25519 key, and the public key.
fn signed(world: &World) -> (Vec<u8>, String) {
    let key = world.ssh_key("key", "ed25519", "");
    let commit = world.commit(&by_ssh(&key).each_ref().map(String::as_str));
    (commit, public(&key))
}

#[test]
fn trusts_keys_of_every_type() {
    let world = World::new();
    for (kind, bits, shown) in [
        ("ed25519", "", "ED25519"),
        ("ecdsa", "256", "ECDSA"),
        ("ecdsa", "384", "ECDSA"),
        ("ecdsa", "521", "ECDSA"),
        ("rsa", "2048", "RSA"),
        ("rsa", "4096", "RSA"),
    ] {
        let key = world.ssh_key(&format!("{kind}{bits}"), kind, bits);
        let options = by_ssh(&key);
        let options = options.each_ref().map(String::as_str);
        let signers = ssh_signers(&format!("a@example.com {}\n", public(&key)));
        for (kind, object) in
            [(SignedKind::Commit, world.commit(&options)), (SignedKind::Tag, world.tag(&options))]
        {
            let signer = same(&world, kind, &object, &signers).unwrap().to_string();
            assert!(signer.starts_with(&format!("a@example.com ({shown} key SHA256:")), "{signer}");
        }
    }
}

#[test]
fn denies_unsigned_commits_and_unlisted_keys() {
    let world = World::new();
    let (commit, key) = signed(&world);
    let other = public(&world.ssh_key("other", "ed25519", ""));
    assert_eq!(denied(&world, &world.commit(&[]), &ssh_signers(&format!("a {key}"))), "is not signed");
    let message = denied(&world, &commit, &ssh_signers(&format!("a {other}")));
    assert!(message.starts_with("is signed by the unknown ED25519 key SHA256:"), "{message}");
}

#[test]
fn denies_a_changed_object_and_a_changed_signature() {
    let world = World::new();
    let (commit, key) = signed(&world);
    let signers = ssh_signers(&format!("a {key}"));
    let text = String::from_utf8(commit).unwrap();
    let tampered = text.replace("message", "massage");
    let message = denied(&world, tampered.as_bytes(), &signers);
    assert!(message.contains("does not match the content"), "{message}");
    // The end of the signature itself.
    let at = text.find("\n -----END").unwrap() - 6;
    let mut bytes = text.clone().into_bytes();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    assert!(denied(&world, &bytes, &signers).starts_with("has a bad signature"));
    let cut = text.replace("\n -----END SSH SIGNATURE-----", "");
    assert!(denied(&world, cut.as_bytes(), &signers).contains("not a complete SSH signature"));
}

#[test]
fn compares_the_namespace_of_signature_and_line() {
    let world = World::new();
    let (commit, key) = signed(&world);
    let unsigned = world.commit(&[]);
    let other = signed_commit(&unsigned, "gpgsig", &ssh_sign(&world.path("key"), "file", &unsigned));
    let message = denied(&world, &other, &ssh_signers(&format!("a {key}")));
    assert!(message.contains("for the namespace `file`, not `git`"), "{message}");
    for list in ["git", "file,git", "g*"] {
        trusted(&world, &commit, &ssh_signers(&format!("a namespaces=\"{list}\" {key}")));
    }
    for list in ["file", "!git,*"] {
        let message = denied(&world, &commit, &ssh_signers(&format!("a namespaces=\"{list}\" {key}")));
        assert!(message.ends_with("is not listed for the namespace `git`"), "{message}");
    }
}

#[test]
fn compares_the_time_of_the_commit_with_that_of_the_line() {
    let world = World::new();
    let (commit, key) = signed(&world);
    // The commit is of 2026-01-15T12:00:00Z.
    for options in [
        "valid-before=\"20260116\"",
        "valid-before=\"20260115120000Z\"",
        "valid-after=\"20260115\"",
        "valid-after=\"202601151200Z\",valid-before=\"20260115120001Z\"",
    ] {
        trusted(&world, &commit, &ssh_signers(&format!("a {options} {key}")));
    }
    for (options, why) in [
        ("valid-before=\"20260115\"", "only before 2026-01-15T00:00:00Z, and signed 2026-01-15T12:00:00Z"),
        ("valid-before=\"20260115115959Z\"", "only before"),
        ("valid-after=\"20260115120001Z\"", "only after"),
        ("valid-after=\"20260116\",valid-before=\"20270101\"", "only after"),
    ] {
        let message = denied(&world, &commit, &ssh_signers(&format!("a {options} {key}")));
        assert!(message.contains(" key SHA256:") && message.contains(why), "{message}");
    }
}

#[test]
fn takes_the_principals_of_the_first_line_and_any_line_that_allows_one() {
    let world = World::new();
    let (commit, key) = signed(&world);
    let other = public(&world.ssh_key("other", "ed25519", ""));
    for (list, name) in [
        (format!("*@example.com {key}"), "*@example.com"),
        (format!("\"a b\" {key}"), "a b"),
        (format!("a,b {key}"), "a"),
        (format!("# none\n\nx {other}\nb namespaces=\"git\" {key} comment"), "b"),
        (format!("a valid-before=\"20200101\" {key}\na {key}"), "a"),
        (format!("a,b valid-before=\"20200101\" {key}\nb {key}"), "b"),
        (format!("a valid-before=\"20200101\" {key}\nb {key}"), "b"),
        (format!("a namespaces=\"file\" {key}\na {key}"), "a"),
        (format!("a,b namespaces=\"file\" {key}\nb {key}"), "b"),
    ] {
        assert_eq!(trusted(&world, &commit, &ssh_signers(&list)), name, "{list}");
    }
    for list in [
        format!("a namespaces=\"file\" {key}\nb {key}"),
        format!("a cert-authority {key}"),
        format!("!a {key}"),
    ] {
        denied(&world, &commit, &ssh_signers(&list));
    }
}

#[test]
fn denies_revoked_keys() {
    let world = World::new();
    let (commit, key) = signed(&world);
    let other = public(&world.ssh_key("other", "ed25519", ""));
    let mut signers = ssh_signers(&format!("a {key}"));
    signers.ssh_revoked_keys = format!("{other}\n");
    trusted(&world, &commit, &signers);
    signers.ssh_revoked_keys = format!("# lost\n{other}\n{key} comment\n");
    let message = denied(&world, &commit, &signers);
    assert!(message.ends_with("is revoked (sshRevokedKeys)"), "{message}");
}

#[test]
fn reads_the_first_of_several_signatures() {
    let world = World::new();
    let (_, key) = signed(&world);
    let other = world.ssh_key("other", "ed25519", "");
    let unsigned = world.commit(&[]);
    let ours = ssh_sign(&world.path("key"), "git", &unsigned);
    let others = ssh_sign(&other, "git", &unsigned);
    let both = |first: &str, second: &str| signed_commit(&unsigned, "gpgsig", &format!("{first}{second}"));
    let signers = ssh_signers(&format!("a {key}"));
    trusted(&world, &both(&ours, &others), &signers);
    let message = denied(&world, &both(&others, &ours), &signers);
    assert!(message.starts_with("is signed by the unknown"), "{message}");
}
