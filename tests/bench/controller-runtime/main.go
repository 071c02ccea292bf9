// What most people would write: a mutating webhook on controller-runtime. It decodes the pod into Kubernetes' own type,
// adds a container and answers with the library's patch, a diff of the two. With --lookup it reads the pod's session
// from the API server of KUBECONFIG first, as the injector does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var session = schema.GroupVersionKind{Group: "vteam.ambient-code", Version: "v1alpha1", Kind: "AgenticSession"}

type injector struct {
	decoder admission.Decoder
	// Absent where no session is looked up.
	sessions client.Client
}

func (i *injector) Handle(ctx context.Context, request admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(request, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	workflow := map[string]string{"gitUrl": "https://git.example/org/flows.git", "branch": "main", "path": "flows/review"}
	if i.sessions != nil {
		owner := metav1.GetControllerOf(pod)
		if owner == nil {
			return admission.Allowed("no session pod")
		}
		found := &unstructured.Unstructured{}
		found.SetGroupVersionKind(session)
		key := client.ObjectKey{Namespace: request.Namespace, Name: owner.Name}
		if err := i.sessions.Get(ctx, key, found); err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		asked, _, err := unstructured.NestedStringMap(found.Object, "spec", "activeWorkflow")
		if err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		workflow = asked
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, container(workflow))
	raw, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	log.FromContext(ctx).Info("pod decided", "outcome", "injected")
	return admission.PatchResponseFromRaw(request.Object.Raw, raw)
}

func container(workflow map[string]string) corev1.Container {
	no, yes := false, true
	return corev1.Container{
		Name:  "init-workflow",
		Image: "localhost/init-fetcher:0.1.0",
		Env: []corev1.EnvVar{
			{Name: "WORKFLOW_GIT_URL", Value: workflow["gitUrl"]},
			{Name: "WORKFLOW_BRANCH", Value: workflow["branch"]},
			{Name: "WORKFLOW_PATH", Value: workflow["path"]},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "workspace", MountPath: "/workspace"}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("512Mi")},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			ReadOnlyRootFilesystem:   &yes,
			RunAsNonRoot:             &yes,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

func run() error {
	port := flag.Int("port", 0, "port on loopback")
	certificates := flag.String("tls-dir", "", "directory with tls.crt and tls.key")
	lookUp := flag.Bool("lookup", false, "read the session of each pod from the API server of KUBECONFIG")
	flag.Parse()
	log.SetLogger(zap.New())

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	handler := &injector{decoder: admission.NewDecoder(scheme)}
	if *lookUp {
		config, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(os.Getenv("KUBECONFIG")))
		if err != nil {
			return err
		}
		// The default of 20 requests a second would be what is measured.
		config.QPS = -1
		if handler.sessions, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
			return err
		}
	}
	server := webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certificates})
	server.Register("/mutate", &webhook.Admission{Handler: handler})
	return server.Start(signals.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		log.Log.Error(err, "the handler could not be started")
		os.Exit(1)
	}
}
