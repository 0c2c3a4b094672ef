//! The files that the control plane is started with: certificates, tokens, kubeconfigs, what is audited, how pods live.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::build;
use crate::enter::NODE_IP;

/// Where the API server is.
pub(crate) const API: &str = "https://127.0.0.1:6443";
/// How each pod lives, by its image.
const STAGES: &str = include_str!("../stages.yaml");
/// Who logs in by a token of their own, so that the audit log tells them apart.
pub(crate) const USERS: [&str; 6] = [
    "admin",
    "controller-manager",
    "scheduler",
    "kube-proxy",
    "kwok",
    "argo-rollouts",
];

/// The folder with the files.
pub(crate) struct Files {
    folder: PathBuf,
    authority: String,
}

// === impl Files ===

impl Files {
    /// Writes all files into this folder.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "cluster tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let names = [
            "127.0.0.1",
            NODE_IP,
            "10.96.0.1",
            "localhost",
            "kubernetes.default.svc",
        ];
        let server = KeyPair::generate()?;
        let params = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        let certificate = params.signed_by(&server, &authority)?;
        let accounts = KeyPair::generate()?;

        let files = Self {
            folder: folder.to_owned(),
            authority: authority.pem(),
        };
        files.put("ca.crt", &files.authority)?;
        files.put("server.crt", &certificate.pem())?;
        files.put("server.key", &server.serialize_pem())?;
        files.put("accounts.key", &accounts.serialize_pem())?;
        files.put("accounts.pub", &accounts.public_key_pem())?;
        let tokens = USERS.map(|user| format!("{user}-token,{user},{user},system:masters\n"));
        files.put("tokens.csv", &tokens.concat())?;
        for user in USERS {
            files.put(
                &format!("{user}.kubeconfig"),
                &files.kubeconfig(&format!("{user}-token"), "default"),
            )?;
        }
        files.put("audit.yaml", &audited().to_string())?;
        let mut stages = String::new();
        for name in ["node-initialize.yaml", "node-heartbeat-with-lease.yaml"] {
            let path = build::manifests().join(name);
            stages += &fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            stages += "\n---\n";
        }
        files.put("stages.yaml", &(stages + STAGES))?;
        Ok(files)
    }

    /// The path of one of the files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A kubeconfig for whoever has this token.
    pub(crate) fn kubeconfig(&self, token: &str, namespace: &str) -> String {
        // JSON is YAML.
        let cluster = json!({ "server": API, "certificate-authority": self.path("ca.crt") });
        let context = json!({ "cluster": "it", "user": "it", "namespace": namespace });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": cluster }],
            "users": [{ "name": "it", "user": { "token": token } }],
            "contexts": [{ "name": "it", "context": context }],
        })
        .to_string()
    }

    /// The arguments of a program, in the order of their names. `@name` stands for the path of a file.
    pub(crate) fn arguments(&self, arguments: &[(&str, &str)]) -> Vec<String> {
        let arguments: BTreeMap<_, _> = arguments.iter().copied().collect();
        let argument = |(name, value): (&str, &str)| match value.strip_prefix('@') {
            Some(file) => format!("--{name}={}", self.path(file).display()),
            None => format!("--{name}={value}"),
        };
        arguments.into_iter().map(argument).collect()
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("cannot write {name}"))
    }
}

/// Each write, with what was asked for, and the reads of `ServiceAccount`s. It is the only witness of what was done how often, and by whom.
fn audited() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": true,
        "rules": [
            // Whether Ripcord is refused anything.
            { "level": "Metadata", "verbs": ["get", "list", "watch"], "userGroups": ["system:serviceaccounts"] },
            { "level": "None", "verbs": ["get", "list", "watch"] },
            { "level": "Request" },
        ],
    })
}
