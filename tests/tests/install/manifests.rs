//! What is installed: valid to a real API server, with no more rights than said, and safe by what it registers.
//!
//! What each directory renders to is left in `target/manifests/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, TLS_SECRET};
use workflow_tests::api_server;
use workflow_tests::manifests::{Kubectl, STAND_INS, directories, objects, of_kind, render};

/// The ways to install; each is an overlay.
const WAYS: [&str; 3] = ["overlays/self-managed", "overlays/cert-manager", "overlays/openshift"];
/// The registration in each of these ways.
const REGISTRATIONS: [&str; 3] =
    ["registration", "overlays/cert-manager/registration", "overlays/openshift/registration"];

/// A kubectl for the process's API server, on which the stand-in CRDs are served and our namespace and PriorityClass
/// exist: what depends on these can't be tried without.
fn kubectl() -> anyhow::Result<Kubectl> {
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let kubectl = Kubectl::with(&kubeconfig);
    for crds in STAND_INS {
        kubectl.run(&["apply", "--server-side", "-f", "-"], Some(crds))?;
    }
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=120s", "crd", "--all"], None)?;
    let needed = objects("base")?
        .into_iter()
        .filter(|object| object["kind"] == "Namespace" || object["kind"] == "PriorityClass");
    for object in needed {
        kubectl.run(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()))?;
    }
    Ok(kubectl)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_directory_is_valid_to_the_api_server() -> anyhow::Result<()> {
    let (_cluster, _turn) = api_server::exclusive().await?;
    let kubectl = kubectl()?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/manifests");
    fs::create_dir_all(&out)?;
    let directories = directories()?;
    for wanted in
        WAYS.iter().chain(&REGISTRATIONS).chain(&["overlays/monitoring", "components/freeze-running"])
    {
        assert!(
            directories.iter().any(|directory| directory == wanted),
            "{wanted} is not among {directories:?}"
        );
    }
    for directory in directories {
        let rendered = render(&directory)?;
        fs::write(out.join(format!("{}.yaml", directory.replace('/', "-"))), &rendered)?;
        let checked = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
        kubectl.run(&checked, Some(&rendered)).map_err(|error| error.context(directory))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_pods_pass_pod_security_restricted_in_each_way() -> anyhow::Result<()> {
    let (_cluster, _turn) = api_server::exclusive().await?;
    let kubectl = kubectl()?;
    for way in WAYS {
        let objects = objects(way)?;
        let namespace = of_kind(&objects, "Namespace")[0];
        assert_eq!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted",
            "{way}"
        );
        let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": template["spec"] });
        pod["metadata"] =
            json!({ "name": "pod", "namespace": INJECTOR, "labels": template["metadata"]["labels"] });
        let create = ["create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"];
        let admitted: Value = serde_json::from_str(&kubectl.run(&create, Some(&pod.to_string()))?)?;
        assert_eq!(admitted["spec"]["priorityClassName"], INJECTOR, "{way}");

        // The namespace is what judges: it lets nothing more pass.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let refused = kubectl.run(&create, Some(&pod.to_string())).unwrap_err().to_string();
        assert!(refused.contains("violates PodSecurity"), "{refused}");
    }
    Ok(())
}

/// What a role of this way grants, one line for each pair of verb and resource, with the names that it is limited to.
fn rights(way: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let objects = objects(way)?;
    let roles = objects.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    let mut rights = BTreeMap::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        assert!(rule["nonResourceURLs"].is_null(), "{way}: {rule}");
        for resource in list(&rule["resources"]) {
            for verb in list(&rule["verbs"]) {
                rights.insert(format!("{verb} {resource}"), list(&rule["resourceNames"]));
            }
        }
        for group in list(&rule["apiGroups"]) {
            assert!(!group.contains('*'), "{way}: {rule}");
        }
    }
    Ok(rights)
}

#[test]
fn rights_are_few_and_named() -> anyhow::Result<()> {
    let everywhere = [
        "get agenticsessions",
        "list agenticsessions",
        "watch agenticsessions",
        "update agenticsessions/status",
        "get pods",
        "list pods",
        "watch pods",
        "create events",
        "create leases",
    ];
    let by_name = [
        "get mutatingwebhookconfigurations",
        "list mutatingwebhookconfigurations",
        "watch mutatingwebhookconfigurations",
        "patch mutatingwebhookconfigurations",
        "get leases",
        "update leases",
        "get namespaces",
    ];
    let secrets = ["get secrets", "list secrets", "watch secrets", "update secrets"];
    for way in WAYS {
        let self_managed = way == "overlays/self-managed";
        let mut expected = BTreeMap::new();
        expected.extend(everywhere.map(|right| (right.to_owned(), Vec::new())));
        expected.extend(by_name.map(|right| (right.to_owned(), vec![INJECTOR.to_owned()])));
        if self_managed {
            expected.insert("create secrets".to_owned(), Vec::new());
            expected.extend(secrets.map(|right| (right.to_owned(), vec![TLS_SECRET.to_owned()])));
        }
        assert_eq!(rights(way)?, expected, "{way}");
    }
    Ok(())
}

#[test]
fn only_creations_of_session_pods_outside_of_system_namespaces_are_registered() -> anyhow::Result<()> {
    let plain = objects("registration")?[0]["webhooks"].clone();
    for way in REGISTRATIONS {
        let objects = objects(way)?;
        assert_eq!(objects.len(), 1, "{way}");
        assert_eq!(objects[0]["webhooks"], plain, "{way}");
    }
    for webhook in plain.as_array().into_iter().flatten() {
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced",
        });
        assert_eq!(webhook["rules"], json!([rule]));
        assert_eq!(webhook["timeoutSeconds"], 5);
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
        assert_eq!(webhook["matchConditions"].as_array().map(Vec::len), Some(1));
        let excluded = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(
            (&excluded["operator"], &excluded["values"]),
            (&json!("NotIn"), &json!(["kube-system", INJECTOR]))
        );
    }
    Ok(())
}

#[test]
fn another_issuers_pair_is_mounted_and_served_and_self_managed_mounts_none() -> anyhow::Result<()> {
    for way in WAYS {
        let objects = objects(way)?;
        let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let mounts: Vec<_> = container["volumeMounts"].as_array().into_iter().flatten().collect();
        let volumes: Vec<_> = pod["volumes"].as_array().into_iter().flatten().collect();
        if way == "overlays/self-managed" {
            assert_eq!(container["args"], json!(["serve"]));
            assert_eq!((mounts.len(), volumes.len()), (1, 1), "the configuration");
        } else {
            let directory =
                mounts.iter().find(|mount| mount["name"] == "tls").map(|mount| &mount["mountPath"]);
            let directory = directory.and_then(|path| path.as_str()).unwrap_or_default();
            assert_eq!(container["args"], json!(["serve", format!("--tls-dir={directory}")]), "{way}");
            // Not optional: a replica without a pair is not started.
            let secret = json!({ "name": "tls", "secret": { "secretName": "workflow-injector-serving" } });
            assert!(volumes.contains(&&secret), "{way}: {volumes:?}");
        }
    }
    Ok(())
}
