//! The manifests are valid to an API server, grant only the listed rights, and register for session pods only.
//!
//! Leaves each rendered directory in `target/manifests/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, TLS_SECRET};
use workflow_tests::api_server;
use workflow_tests::manifests::{Kubectl, directories, objects, of_kind, other_crds, render};

/// The overlays that install the injector.
const INSTALLS: [&str; 3] = ["overlays/self-managed", "overlays/cert-manager", "overlays/openshift"];
const REGISTRATIONS: [&str; 3] =
    ["registration", "overlays/cert-manager/registration", "overlays/openshift/registration"];

/// A kubectl for the process's API server, with the CRDs of other projects and our namespace and PriorityClass, which a dry run of
/// the other objects needs.
fn kubectl() -> anyhow::Result<Kubectl> {
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let kubectl = Kubectl::with(&kubeconfig);
    for crd in other_crds()? {
        kubectl.run(&["apply", "--server-side", "-f", "-"], Some(&serde_json::to_string(&crd)?))?;
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
async fn the_api_server_accepts_every_directory() -> anyhow::Result<()> {
    let (_cluster, _turn) = api_server::exclusive().await?;
    let kubectl = kubectl()?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/manifests");
    fs::create_dir_all(&out)?;
    let directories = directories()?;
    for wanted in INSTALLS.iter().chain(&REGISTRATIONS).chain(&[
        "overlays/monitoring",
        "components/freeze-running",
        "components/validate-sessions",
        "components/live-delivery",
    ]) {
        assert!(
            directories.iter().any(|directory| directory == wanted),
            "{wanted} is not among {directories:?}"
        );
    }
    for directory in directories {
        let rendered = render(&directory)?;
        fs::write(out.join(format!("{}.yaml", directory.replace('/', "-"))), &rendered)?;
        let checked = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        kubectl.run(&checked, Some(&rendered)).map_err(|error| error.context(directory))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_pods_pass_pod_security_restricted_in_each_overlay() -> anyhow::Result<()> {
    let (_cluster, _turn) = api_server::exclusive().await?;
    let kubectl = kubectl()?;
    for way in INSTALLS {
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

        // The namespace enforces it: anything more is denied.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let denial = kubectl.run(&create, Some(&pod.to_string())).unwrap_err().to_string();
        assert!(denial.contains("violates PodSecurity"), "{denial}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn host_network_gives_ports_of_its_own_that_our_namespace_admits() -> anyhow::Result<()> {
    let (_cluster, _turn) = api_server::exclusive().await?;
    let kubectl = kubectl()?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host-network");
    fs::create_dir_all(&directory)?;
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["../../manifests/overlays/self-managed"],
        "components": ["../../manifests/components/host-network"],
    });
    fs::write(directory.join("kustomization.yaml"), kustomization.to_string())?;
    let rendered = kubectl.run(&["kustomize", &directory.display().to_string()], None)?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;

    let namespace = of_kind(&objects, "Namespace")[0];
    kubectl.run(&["apply", "--server-side", "-f", "-"], Some(&namespace.to_string()))?;
    let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": template["spec"] });
    pod["metadata"] = json!({ "name": "pod", "namespace": INJECTOR });
    let create = ["create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"];
    let admitted: Value = serde_json::from_str(&kubectl.run(&create, Some(&pod.to_string()))?)?;
    let container = &admitted["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["serve", "--listen=[::]:10343", "--listen-ops=[::]:10344"]));
    let ports: Vec<_> =
        container["ports"].as_array().into_iter().flatten().map(|port| port["hostPort"].as_u64()).collect();
    assert_eq!(ports, [Some(10343), Some(10344)]);
    Ok(())
}

/// The rights that the overlay's roles grant: verb and resource, with the names that they are limited to.
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
fn roles_grant_the_listed_rights_only() -> anyhow::Result<()> {
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
    for way in INSTALLS {
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
fn registers_for_creations_of_session_pods_outside_of_system_namespaces_only() -> anyhow::Result<()> {
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
fn mounts_and_serves_the_certificate_of_another_issuer() -> anyhow::Result<()> {
    for way in INSTALLS {
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
            // Not optional: a replica without a certificate is not started.
            let secret = json!({ "name": "tls", "secret": { "secretName": "workflow-injector-serving" } });
            assert!(volumes.contains(&&secret), "{way}: {volumes:?}");
        }
    }
    Ok(())
}
