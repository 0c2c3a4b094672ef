//! What the checks look at, and with whose eyes: the two files, the cluster, and a person's rights.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::reach::{Hands, Trouble, trouble};
use crate::cli::{Answer, Exit, explain, preflight};
use crate::cluster::http::Prober;
use crate::cluster::permissions::Account;
use crate::cluster::survey::Version;
use crate::cluster::{Clock, Cluster, clock};
use crate::config::nearest::{listed, nearest};
use crate::config::{Loaded, Settings, load_policy};
use crate::policy::Policy;
use crate::target::Target;

/// How long one call of the API server may take.
const CALL: Duration = Duration::from_secs(10);
/// How long the last good drill may lie back where nobody says otherwise.
const DRILLED_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Which cluster, and who the service is there.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Who {
    /// The kubeconfig file [default: as kubectl does].
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Ripcord's service account, in its own namespace, whose rights are asked for.
    #[arg(long, value_name = "NAME", default_value = "ripcord")]
    account: String,
    /// This machine is outside of the cluster's network: what gives no answer from here is a warning, not a failure.
    #[arg(long)]
    outside: bool,
}

/// Both files, as the service would read them.
pub(in crate::cli) struct Files {
    pub(in crate::cli) settings: Settings,
    pub(in crate::cli) loaded: Loaded,
    /// Ripcord's own namespace.
    home: String,
}

/// What the checks look at, and how.
pub(in crate::cli) struct Ground<'a> {
    pub(in crate::cli) cluster: Cluster,
    pub(in crate::cli) settings: &'a Settings,
    pub(in crate::cli) policy: &'a Policy,
    pub(in crate::cli) targets: Vec<&'a Target>,
    /// Ripcord's own namespace.
    pub(in crate::cli) home: &'a str,
    /// Who looks.
    pub(in crate::cli) by: String,
    /// Whether this machine is outside of the cluster's network.
    pub(in crate::cli) outside: bool,
    /// How long the last good drill may lie back.
    pub(in crate::cli) drilled_within: Duration,
    pub(in crate::cli) clock: Clock,
    pub(in crate::cli) prober: Prober,
    /// What the API server says that it is.
    pub(in crate::cli) version: Version,
    account: &'a str,
}

// === impl Files ===

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// What to say where they cannot be run by.
    pub(in crate::cli) fn read(settings: Option<&Path>, policy: &Path) -> Result<Self, Answer> {
        let refused = |diagnostics: Vec<_>| explain::refused(&diagnostics);
        let settings = Settings::load(settings, crate::cli::variables()).map_err(refused)?;
        let mut loaded = load_policy(policy).map_err(refused)?;
        preflight::tame(&mut loaded.policy, &settings);
        let home = preflight::own_namespace(&settings);
        preflight::protect(&mut loaded.policy, &home)
            .map_err(|fault| explain::refused(&[fault]))?;
        Ok(Self {
            settings,
            loaded,
            home,
        })
    }
}

// === impl Ground ===

impl<'a> Ground<'a> {
    /// Connects, and finds the targets of these names; all of them where none is named.
    ///
    /// # Errors
    /// That the cluster does not answer, or that there is no such target.
    pub(in crate::cli) async fn of(
        who: &'a Who,
        files: &'a Files,
        named: &[String],
    ) -> Result<Self, Trouble> {
        let policy = &files.loaded.policy;
        let targets = chosen(policy, named)?;
        let (path, context) = (who.kubeconfig.as_deref(), who.context.as_deref());
        let connected = Cluster::connect_as(path, context, CALL).await;
        let (cluster, namespace) = connected.map_err(|error| Trouble::unconnected(&error))?;
        let version = cluster.version().await;
        let version = version.map_err(|error| trouble(error, "get", "rollbacks", None))?;
        let clock = clock::system();
        let prober = Prober::new(clock.clone());
        let prober = prober.map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
        let hands = Hands { cluster, namespace };
        Ok(Self {
            by: hands.who().await,
            cluster: hands.cluster,
            settings: &files.settings,
            policy,
            targets,
            home: &files.home,
            outside: who.outside,
            drilled_within: DRILLED_WITHIN,
            clock,
            prober,
            version,
            account: &who.account,
        })
    }

    /// The service account, where it is not the one that looks: who is the service need not ask for another, which few may.
    pub(in crate::cli) fn service(&self) -> Option<Account> {
        let Self { home, account, .. } = self;
        let user = format!("system:serviceaccount:{home}:{account}");
        (self.by != user).then(|| Account {
            namespace: (*home).to_owned(),
            name: (*account).to_owned(),
        })
    }
}

/// The targets that are looked at.
fn chosen<'a>(policy: &'a Policy, named: &[String]) -> Result<Vec<&'a Target>, Trouble> {
    if named.is_empty() {
        return Ok(policy.targets.values().collect());
    }
    let find = |name: &String| {
        policy.targets.get(name).ok_or_else(|| {
            let names = policy.targets.keys().map(String::as_str);
            let help = match nearest(name, names.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it has {}", listed(names)),
            };
            Trouble::new(
                Exit::Unknown,
                format!("the policy has no target {}", name.escape_debug()),
            )
            .help(help)
        })
    };
    named.iter().map(find).collect()
}
