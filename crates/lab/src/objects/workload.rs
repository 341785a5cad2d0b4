//! DaemonSets, Deployments and ReplicaSets.

use serde_json::{Value, json};

use super::{
    Maker,
    pod::{owner_reference, pod_spec, replica_set, selector, template_hash},
};
use crate::{LabError, layout::App};

impl Maker<'_> {
    pub(super) fn workloads(&mut self) -> Result<Vec<Value>, LabError> {
        let mut workloads = vec![
            self.daemon_set(App::Client)?,
            self.host_daemon_set("kube-flannel", "kube-flannel-ds", &json!({"app": "flannel"}))?,
            self.host_daemon_set("kube-system", "kube-proxy", &json!({"k8s-app": "kube-proxy"}))?,
        ];
        for app in [App::Echo, App::CoreDns, App::Cart] {
            workloads.push(self.deployment(app)?);
        }
        for app in [App::Echo, App::CoreDns, App::Cart] {
            workloads.push(self.replica_set(app)?);
        }
        Ok(workloads)
    }

    fn daemon_set(&mut self, app: App) -> Result<Value, LabError> {
        let template = json!({"metadata": {"labels": selector(app)}, "spec": pod_spec(app, None)});
        self.daemon_set_of(app.namespace(), app.name(), &selector(app), &template)
    }

    fn host_daemon_set(&mut self, namespace: &str, name: &str, labels: &Value) -> Result<Value, LabError> {
        let template = json!({"metadata": {"labels": labels}, "spec": {"hostNetwork": true}});
        self.daemon_set_of(namespace, name, labels, &template)
    }

    fn daemon_set_of(
        &mut self,
        namespace: &str,
        name: &str,
        labels: &Value,
        template: &Value,
    ) -> Result<Value, LabError> {
        let uid = self.uid(namespace, "DaemonSet", name)?;
        let n_nodes = self.layout.nodes.len();
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": self.metadata(namespace, name, &uid, labels.clone()),
            "spec": {
                "revisionHistoryLimit": 10,
                "selector": {"matchLabels": labels},
                "template": template,
                "updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}, "type": "RollingUpdate"},
            },
            "status": {
                "currentNumberScheduled": n_nodes,
                "desiredNumberScheduled": n_nodes,
                "numberAvailable": n_nodes,
                "numberMisscheduled": 0,
                "numberReady": n_nodes,
                "observedGeneration": 1,
                "updatedNumberScheduled": n_nodes,
            },
        }))
    }

    fn deployment(&mut self, app: App) -> Result<Value, LabError> {
        let uid = self.uid(app.namespace(), "Deployment", app.name())?;
        let n_pods = self.n_pods(app);
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(app.namespace(), app.name(), &uid, selector(app)),
            "spec": {
                "progressDeadlineSeconds": 600,
                "replicas": n_pods,
                "revisionHistoryLimit": 10,
                "selector": {"matchLabels": selector(app)},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
                "template": {"metadata": {"labels": selector(app)}, "spec": pod_spec(app, None)},
            },
            "status": {
                "availableReplicas": n_pods,
                "observedGeneration": 1,
                "readyReplicas": n_pods,
                "replicas": n_pods,
                "updatedReplicas": n_pods,
            },
        }))
    }

    fn replica_set(&mut self, app: App) -> Result<Value, LabError> {
        let name = replica_set(app);
        let uid = self.uid(app.namespace(), "ReplicaSet", &name)?;
        let mut labels = selector(app);
        labels["pod-template-hash"] = template_hash(app).into();
        let mut metadata = self.metadata(app.namespace(), &name, &uid, labels.clone());
        let owner = self.uid(app.namespace(), "Deployment", app.name())?;
        metadata["ownerReferences"] = owner_reference("apps/v1", "Deployment", app.name(), &owner);
        let n_pods = self.n_pods(app);
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": metadata,
            "spec": {
                "replicas": n_pods,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod_spec(app, None)},
            },
            "status": {
                "availableReplicas": n_pods,
                "observedGeneration": 1,
                "readyReplicas": n_pods,
                "replicas": n_pods,
            },
        }))
    }

    fn n_pods(&self, app: App) -> usize {
        self.layout.pods().filter(|(_, pod)| pod.app == app).count()
    }
}
