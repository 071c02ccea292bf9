//! Commits and tags of both object formats, and what can be done to them.

use workflow_contract::verify::Signers;
use workflow_signatures::{ObjectFormat, SignatureError, SignedKind};

use crate::world::{
    World, by_ssh, denied, ours, public, same, signed_commit, ssh_sign, ssh_signers, trusted,
};

fn world(format: ObjectFormat) -> (World, Vec<u8>, Vec<u8>, String) {
    let world = World::of_format(format);
    let key = world.ssh_key("key", "ed25519", "");
    let options = by_ssh(&key);
    let options = options.each_ref().map(String::as_str);
    let (commit, tag) = (world.commit(&options), world.tag(&options));
    (world, commit, tag, public(&key))
}

#[test]
fn repositories_of_sha256_sign_in_a_header_of_their_own() {
    let (world, commit, tag, key) = world(ObjectFormat::Sha256);
    let signers = ssh_signers(&format!("a {key}"));
    assert!(String::from_utf8_lossy(&commit).contains("\ngpgsig-sha256 -----BEGIN"));
    trusted(&world, &commit, &signers);
    same(&world, SignedKind::Tag, &tag, &signers).unwrap();
    // The header of the other algorithm counts for nothing.
    let renamed = String::from_utf8(commit).unwrap().replace("gpgsig-sha256", "gpgsig");
    assert_eq!(denied(&world, renamed.as_bytes(), &signers), "is not signed");
}

#[test]
fn a_signature_of_the_other_object_format_beside_ours_is_not_signed() {
    let (world, commit, _, key) = world(ObjectFormat::Sha1);
    let text = String::from_utf8(commit).unwrap();
    let with_other = text.replacen("gpgsig ", "gpgsig-sha256 -----BEGIN x\n y\ngpgsig ", 1);
    trusted(&world, with_other.as_bytes(), &ssh_signers(&format!("a {key}")));
}

#[test]
fn tags_are_denied_as_commits_are() {
    let (world, _, tag, key) = world(ObjectFormat::Sha1);
    let signers = ssh_signers(&format!("a {key}"));
    let verdict = |tag: &[u8], signers: &Signers| {
        same(&world, SignedKind::Tag, tag, signers).map_err(|e| e.to_string())
    };
    verdict(&tag, &signers).unwrap();
    assert_eq!(verdict(&world.tag(&[]), &signers).unwrap_err(), "is not signed");
    let text = String::from_utf8(tag.clone()).unwrap();
    assert!(verdict(text.replace("message", "massage").as_bytes(), &signers).is_err());
    let other = public(&world.ssh_key("other", "ed25519", ""));
    assert!(verdict(&tag, &ssh_signers(&format!("a {other}"))).unwrap_err().contains("unknown"));
    // Only the last signature is one; the first becomes part of the message.
    let twice = format!("{text}{}", &text[text.find("-----BEGIN").unwrap()..]);
    assert!(verdict(twice.as_bytes(), &signers).is_err());
    let of_both = format!("{text}{}", ssh_sign(&world.path("key"), "git", text.as_bytes()));
    verdict(of_both.as_bytes(), &signers).unwrap();
}

#[test]
fn kinds_of_signatures_that_are_not_supported_are_named() {
    let (world, commit, _, key) = world(ObjectFormat::Sha1);
    let signers = ssh_signers(&format!("a {key}"));
    let unsigned = world.commit(&[]);
    for (armor, what) in [
        (
            "-----BEGIN SIGNED MESSAGE-----\nMIAG\n-----END SIGNED MESSAGE-----",
            "an X.509 signature (gitsign, smimesign)",
        ),
        (
            "-----BEGIN PGP MESSAGE-----\n\nxxxx\n-----END PGP MESSAGE-----",
            "an OpenPGP message in place of a signature",
        ),
        ("nonsense", "a signature of an unknown kind"),
    ] {
        let object = signed_commit(&unsigned, "gpgsig", armor);
        let error = ours(&world, SignedKind::Commit, &object, &signers).unwrap_err();
        assert_eq!(error, SignatureError::Unsupported { what });
        assert!(!world.git_trusts(SignedKind::Commit, &object, &signers));
    }
    trusted(&world, &commit, &signers);
}

#[test]
fn rejects_signed_objects_of_another_kind() {
    let (world, _, _, key) = world(ObjectFormat::Sha1);
    let signers = ssh_signers(&format!("a {key}"));
    // A signature over other text than the object's headers, at the end of a tag that names another object.
    let signature = ssh_sign(&world.path("key"), "git", b"tagger A <a@b> 1768478400 +0000\n");
    let tag = format!("tagger A <a@b> 1768478400 +0000\n{signature}object 1\ntype commit\ntag v1\n\n");
    let error = ours(&world, SignedKind::Tag, tag.as_bytes(), &signers).unwrap_err();
    assert!(error.to_string().contains("signs something else than the object"), "{error}");
}
