//! Descriptors by the names of what they describe.

use std::collections::{BTreeSet, HashMap};

use prost::{DecodeError, Message as _};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// The descriptors of all services.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Each file as bytes.
    files: Vec<Vec<u8>>,
    by_file_name: HashMap<String, usize>,
    /// By full name, without a dot ahead.
    by_symbol: HashMap<String, usize>,
    services: BTreeSet<String>,
}

impl Index {
    /// Of all files of `sets`, each of which is a `FileDescriptorSet` as bytes. They are built in: an
    /// error is a fault of the build.
    pub(crate) fn of(sets: &[&[u8]]) -> Result<Self, DecodeError> {
        let mut index = Self::default();
        for &set in sets {
            for file in FileDescriptorSet::decode(set)?.file {
                // Sets have files in common.
                if !index.by_file_name.contains_key(file.name()) {
                    index.add(&file);
                }
            }
        }
        Ok(index)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.at(self.by_file_name.get(name))
    }

    /// The file that has a message, enum, service or part of one by this name.
    pub(super) fn file_of_symbol(&self, name: &str) -> Option<&[u8]> {
        self.at(self.by_symbol.get(name))
    }

    fn at(&self, place: Option<&usize>) -> Option<&[u8]> {
        self.files.get(*place?).map(Vec::as_slice)
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let name = file.name().to_owned();
        self.by_file_name.insert(name, self.files.len());
        let package = file.package();
        for message in &file.message_type {
            self.add_message(package, message);
        }
        for of in &file.enum_type {
            self.add_enum(package, of);
        }
        for service in &file.service {
            let full = self.add_symbol(package, service.name());
            for method in &service.method {
                self.add_symbol(&full, method.name());
            }
            self.services.insert(full);
        }
        self.files.push(file.encode_to_vec());
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let full = self.add_symbol(scope, message.name());
        for field in &message.field {
            self.add_symbol(&full, field.name());
        }
        for oneof in &message.oneof_decl {
            self.add_symbol(&full, oneof.name());
        }
        for nested in &message.nested_type {
            self.add_message(&full, nested);
        }
        for of in &message.enum_type {
            self.add_enum(&full, of);
        }
    }

    /// The values of an enum are its siblings, as in C.
    fn add_enum(&mut self, scope: &str, of: &EnumDescriptorProto) {
        self.add_symbol(scope, of.name());
        for value in &of.value {
            self.add_symbol(scope, value.name());
        }
    }

    /// The full name of what is added: something of the file that is added next.
    fn add_symbol(&mut self, scope: &str, name: &str) -> String {
        let full = match scope {
            "" => name.to_owned(),
            scope => format!("{scope}.{name}"),
        };
        self.by_symbol.insert(full.clone(), self.files.len());
        full
    }
}
