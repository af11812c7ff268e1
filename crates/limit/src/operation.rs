//! What is run: a tool, a prompt or a resource.

use std::{fmt, sync::Arc};

use crate::{NameError, name::check_length};

/// What kind of thing an MCP client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// `tools/call`.
    Tool,
    /// `prompts/get`.
    Prompt,
    /// `resources/read`.
    Resource,
}

impl OperationKind {
    /// `tool`, `prompt` or `resource`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tool, prompt or resource by name; a resource's name is its URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    kind: OperationKind,
    name: Arc<str>,
}

impl Operation {
    /// The longest name, in bytes.
    pub const MAX_NAME: usize = 1_024;

    /// The operation of that kind and name, which may be any text of 1 to 1,024 bytes.
    pub fn new(kind: OperationKind, name: &str) -> Result<Self, NameError> {
        check_length(name, Self::MAX_NAME)?;
        Ok(Self {
            kind,
            name: name.into(),
        })
    }

    /// Tool, prompt or resource.
    pub const fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// As people say it: `tool github_search`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_may_have_any_name_of_bounded_length() {
        for name in ["a", "a:b", "{}", "%", "\n", "\0", "🦀", &"x".repeat(1_024)] {
            assert!(
                Operation::new(OperationKind::Tool, name).is_ok(),
                "{name:?}"
            );
        }
        assert_eq!(
            Operation::new(OperationKind::Tool, ""),
            Err(NameError::Empty)
        );
        assert_eq!(
            Operation::new(OperationKind::Tool, &"x".repeat(1_025)),
            Err(NameError::TooLong {
                len: 1_025,
                max: 1_024
            })
        );
    }
}
