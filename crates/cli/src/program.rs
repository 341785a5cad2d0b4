//! What this program is called.

use std::path::Path;

/// How this program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// By its own name.
    Hopwise,
    /// By kubectl, which runs `kubectl-hopwise` for `kubectl hopwise`.
    KubectlPlugin,
    /// By kubectl, which runs `kubectl_complete-hopwise` for what can follow `kubectl hopwise`.
    KubectlCompletion,
}

impl Program {
    /// The words that call it so again.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hopwise => "hopwise",
            Self::KubectlPlugin | Self::KubectlCompletion => "kubectl hopwise",
        }
    }
}

/// How this program was called, by the first word of its command line.
pub(crate) fn program() -> Program {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|it| it.to_str()) {
        Some("kubectl-hopwise") => Program::KubectlPlugin,
        Some("kubectl_complete-hopwise") => Program::KubectlCompletion,
        _ => Program::Hopwise,
    }
}
