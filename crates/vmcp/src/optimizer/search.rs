//! Search in tools by words: tantivy's BM25 over an index in memory.
//!
//! Words are compared by their English stems, without case. A word in a tool's name counts more
//! than one in its description, and that more than one in the names of its parameters.

use std::fmt;

use rmcp::model::Tool;
use tantivy::{
    Index as TantivyIndex, IndexReader, TantivyDocument, TantivyError, Term,
    collector::TopDocs,
    query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery},
    schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions, Value as _},
    tokenizer::{
        Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer, TokenStream,
    },
};

use super::{indexes::Found, tokens::TokenMetrics};
use crate::VmcpError;

/// An index of tools.
pub(super) struct Index {
    tools: Vec<Tool>,
    /// What the descriptions of all tools cost a model.
    tokens: usize,
    fields: Fields,
    reader: IndexReader,
}

#[derive(Clone, Copy)]
struct Fields {
    place: Field,
    name: Field,
    description: Field,
    parameters: Field,
}

const WORDS: &str = "words";

/// Words of more bytes are no words.
const MAX_WORD: usize = 64;

/// The most words of a query that are looked at.
const MAX_QUERY_WORDS: usize = 100;

/// Memory for building an index, in bytes; one that needs more is written in parts.
const BUILD_MEMORY: usize = 15_000_000;

impl Index {
    pub(super) fn of(tools: Vec<Tool>) -> Result<Self, VmcpError> {
        Self::build(tools).map_err(failed)
    }

    fn build(tools: Vec<Tool>) -> Result<Self, TantivyError> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(WORDS)
            .set_index_option(IndexRecordOption::WithFreqs);
        let words = TextOptions::default().set_indexing_options(indexing);
        let fields = Fields {
            place: schema.add_u64_field("place", FAST | tantivy::schema::STORED),
            name: schema.add_text_field("name", words.clone()),
            description: schema.add_text_field("description", words.clone()),
            parameters: schema.add_text_field("parameters", words),
        };
        let index = TantivyIndex::create_in_ram(schema.build());
        index.tokenizers().register(WORDS, analyzer());
        let mut writer = index.writer_with_num_threads(1, BUILD_MEMORY)?;
        for (place, tool) in (0_u64..).zip(&tools) {
            let mut document = TantivyDocument::default();
            document.add_u64(fields.place, place);
            document.add_text(fields.name, split_camel_case(&tool.name));
            document.add_text(fields.description, describe(tool));
            document.add_text(fields.parameters, parameters(tool));
            writer.add_document(document)?;
        }
        writer.commit()?;
        let reader = index.reader()?;
        let tokens = TokenMetrics::cost(&tools);
        Ok(Self {
            tools,
            tokens,
            fields,
            reader,
        })
    }

    pub(super) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tools that fit `text` best, best first. Of equals the one listed first comes first.
    pub(super) fn search(&self, text: &str, at_most: usize) -> Result<Found, VmcpError> {
        let tools = self.find(text, at_most).map_err(failed)?;
        let metrics = TokenMetrics::of(self.tokens, TokenMetrics::cost(tools.iter().copied()));
        Ok(Found {
            tools: tools.into_iter().cloned().collect(),
            metrics,
        })
    }

    fn find(&self, text: &str, at_most: usize) -> Result<Vec<&Tool>, TantivyError> {
        let query = BooleanQuery::new(self.clauses(text));
        let searcher = self.reader.searcher();
        let top = searcher.search(&query, &TopDocs::with_limit(at_most).order_by_score())?;
        let mut found = Vec::with_capacity(top.len());
        for (_, address) in top {
            let document: TantivyDocument = searcher.doc(address)?;
            let place = document.get_first(self.fields.place);
            let place = place.and_then(|place| place.as_u64());
            let place = place.and_then(|place| usize::try_from(place).ok());
            found.extend(place.and_then(|place| self.tools.get(place)));
        }
        Ok(found)
    }

    fn clauses(&self, text: &str) -> Vec<(Occur, Box<dyn Query>)> {
        let Fields {
            name,
            description,
            parameters,
            ..
        } = self.fields;
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for word in words(text) {
            for (field, weight) in [(name, 3.0), (description, 1.0), (parameters, 0.5)] {
                let term = Term::from_field_text(field, &word);
                let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
                let query = BoostQuery::new(Box::new(query), weight);
                clauses.push((Occur::Should, Box::new(query)));
            }
        }
        clauses
    }
}

fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(MAX_WORD))
        .filter(LowerCaser)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// The words of a query, as the index has them, each once.
fn words(text: &str) -> Vec<String> {
    let text = split_camel_case(text);
    let mut analyzer = analyzer();
    let mut stream = analyzer.token_stream(&text);
    let mut words: Vec<String> = Vec::new();
    while stream.advance() && words.len() < MAX_QUERY_WORDS {
        let word = &stream.token().text;
        if !words.contains(word) {
            words.push(word.clone());
        }
    }
    words
}

fn describe(tool: &Tool) -> String {
    let title = tool.title.as_deref().unwrap_or_default();
    let description = tool.description.as_deref().unwrap_or_default();
    format!("{title} {description}")
}

fn parameters(tool: &Tool) -> String {
    let properties = tool.input_schema.get("properties");
    let properties = properties.and_then(|properties| properties.as_object());
    let names = properties.into_iter().flat_map(|p| p.keys());
    let split = names.map(|name| split_camel_case(name));
    split.collect::<Vec<_>>().join(" ")
}

/// `createPullRequest` as `create Pull Request`.
fn split_camel_case(text: &str) -> String {
    let mut split = String::with_capacity(text.len() + 8);
    let mut after_lower = false;
    for c in text.chars() {
        if c.is_uppercase() && after_lower {
            split.push(' ');
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
        split.push(c);
    }
    split
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: TantivyError) -> VmcpError {
    VmcpError::Search(error.to_string())
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}
