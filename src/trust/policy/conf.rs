//! `policy.conf`: an INI file that is understood whole or not at all.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::evidence::EvidenceKind;
use crate::names::{Product, ProductError};
use crate::note::{SIGNATURES_MAX, parse_index};
use crate::text::shortened;

use super::measure::{Measure, Need, PCR_MAX, PCR_MIN, parse_need, parse_pcr};

/// What `policy.conf` says.
#[derive(Debug, Clone)]
pub(super) struct Conf {
    pub(super) mode: Mode,
    pub(super) product: Option<Product>,
    pub(super) accept: Vec<EvidenceKind>,
    pub(super) threshold: usize,
    pub(super) minimum_index: u64,
    pub(super) on_refusal: OnRefusal,
    pub(super) measure: Option<Measure>,
}

/// What becomes of a machine whose root was refused: `on-refusal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefusal {
    /// The message stays on the screen for a while, then the machine is powered off.
    #[default]
    Halt,
    /// The machine starts again; with boot counting, that is the way back to an older deployment.
    Reboot,
    /// What the initramfs does: most give a root shell. For development only.
    Emergency,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Sealed,
    Unsealed,
}

/// Why `policy.conf` is not understood. Texts in it are shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfError {
    /// Not UTF-8, or with a control character.
    NotText,
    /// Neither `[SECTION]`, `KEY = VALUE`, a comment nor an empty line.
    Shape(String),
    /// A key before the first section.
    NoSection(String),
    /// A section other than `[seal]` and `[tpm]`.
    UnknownSection(String),
    /// A section a second time.
    RepeatedSection(String),
    /// A key that means nothing here.
    UnknownKey(String),
    /// A key a second time.
    RepeatedKey(String),
    /// `mode` is neither `sealed` nor `unsealed`.
    Mode(String),
    /// `mode` is missing.
    NoMode,
    /// `product` can't be one.
    Product(ProductError),
    /// `accept` is not a list of kinds, each once, at least one.
    Accept(String),
    /// `threshold` is not a number from 1 to [`SIGNATURES_MAX`].
    Threshold(String),
    /// `minimum-index` is not a number in its one spelling.
    MinimumIndex(String),
    /// `on-refusal` is none of its three words.
    OnRefusal(String),
    /// `measure` is no PCR that may be measured into.
    Measure(String),
    /// `measure` is missing in `[tpm]`.
    NoMeasure,
    /// `tpm` is neither `required` nor `optional`.
    Tpm(String),
}

/// The sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Seal,
    Tpm,
}

/// The values as they come, before the defaults.
#[derive(Debug, Default)]
struct Raw {
    /// The sections that have begun; the last one is the one that a key belongs to.
    sections: Vec<Section>,
    mode: Option<Mode>,
    product: Option<Product>,
    accept: Option<Vec<EvidenceKind>>,
    threshold: Option<usize>,
    minimum_index: Option<u64>,
    on_refusal: Option<OnRefusal>,
    pcr: Option<u8>,
    need: Option<Need>,
}

impl Conf {
    /// Reads the file; an error comes with the number of its line, or 0 for the file as a whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, (usize, ConfError)> {
        let text = core::str::from_utf8(bytes).map_err(|_| (0, ConfError::NotText))?;
        let mut raw = Raw::default();
        for (line, number) in text.split('\n').zip(1..) {
            parse_line(line, &mut raw).map_err(|error| (number, error))?;
        }
        let measure = raw.measure().map_err(|error| (0, error))?;
        Ok(Self {
            mode: raw.mode.ok_or((0, ConfError::NoMode))?,
            product: raw.product,
            accept: raw.accept.unwrap_or_else(|| vec![EvidenceKind::Note]),
            threshold: raw.threshold.unwrap_or(1),
            minimum_index: raw.minimum_index.unwrap_or(0),
            on_refusal: raw.on_refusal.unwrap_or_default(),
            measure,
        })
    }
}

fn parse_line(line: &str, raw: &mut Raw) -> Result<(), ConfError> {
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(ConfError::NotText);
    }
    let line = without_comment(line);
    if line.is_empty() {
        return Ok(());
    }
    if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return raw.begin(section);
    }
    let (key, value) = line.split_once('=').ok_or_else(|| ConfError::Shape(shortened(line)))?;
    let (key, value) = (key.trim(), value.trim());
    match raw.sections.last() {
        Some(Section::Seal) => raw.set_seal(key, value),
        Some(Section::Tpm) => raw.set_tpm(key, value),
        None => Err(ConfError::NoSection(shortened(key))),
    }
}

/// The line without blanks around it and without its comment: `#` or `;` where the line begins, or `#` after a blank.
fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return "";
    }
    let comment = [" #", "\t#"].into_iter().filter_map(|mark| line.find(mark)).min();
    comment.map_or(line, |start| line[..start].trim_end())
}

impl Raw {
    fn begin(&mut self, name: &str) -> Result<(), ConfError> {
        let section = match name {
            "seal" => Section::Seal,
            "tpm" => Section::Tpm,
            _ => return Err(ConfError::UnknownSection(shortened(name))),
        };
        if self.sections.contains(&section) {
            return Err(ConfError::RepeatedSection(name.to_owned()));
        }
        self.sections.push(section);
        Ok(())
    }

    /// A section that names no PCR means nothing.
    fn measure(&self) -> Result<Option<Measure>, ConfError> {
        match self.pcr {
            Some(pcr) => Ok(Some(Measure { pcr, need: self.need.unwrap_or_default() })),
            None if self.sections.contains(&Section::Tpm) => Err(ConfError::NoMeasure),
            None => Ok(None),
        }
    }

    fn set_tpm(&mut self, key: &str, value: &str) -> Result<(), ConfError> {
        let wrong = || shortened(value);
        match key {
            "measure" => {
                once(key, &mut self.pcr, parse_pcr(value).ok_or_else(|| ConfError::Measure(wrong()))?)
            }
            "tpm" => once(key, &mut self.need, parse_need(value).ok_or_else(|| ConfError::Tpm(wrong()))?),
            _ => Err(ConfError::UnknownKey(shortened(key))),
        }
    }

    fn set_seal(&mut self, key: &str, value: &str) -> Result<(), ConfError> {
        let wrong = || shortened(value);
        match key {
            "mode" => once(key, &mut self.mode, value.parse()?),
            "product" => once(key, &mut self.product, value.parse().map_err(ConfError::Product)?),
            "accept" => {
                once(key, &mut self.accept, parse_accept(value).ok_or_else(|| ConfError::Accept(wrong()))?)
            }
            "threshold" => {
                let threshold = parse_threshold(value).ok_or_else(|| ConfError::Threshold(wrong()))?;
                once(key, &mut self.threshold, threshold)
            }
            "minimum-index" => {
                let index = parse_index(value).ok_or_else(|| ConfError::MinimumIndex(wrong()))?;
                once(key, &mut self.minimum_index, index)
            }
            "on-refusal" => once(key, &mut self.on_refusal, value.parse()?),
            _ => Err(ConfError::UnknownKey(shortened(key))),
        }
    }
}

fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), ConfError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ConfError::RepeatedKey(key.to_owned())),
    }
}

impl FromStr for Mode {
    type Err = ConfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sealed" => Ok(Self::Sealed),
            "unsealed" => Ok(Self::Unsealed),
            _ => Err(ConfError::Mode(shortened(text))),
        }
    }
}

impl FromStr for OnRefusal {
    type Err = ConfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "halt" => Ok(Self::Halt),
            "reboot" => Ok(Self::Reboot),
            "emergency" => Ok(Self::Emergency),
            _ => Err(ConfError::OnRefusal(shortened(text))),
        }
    }
}

impl fmt::Display for OnRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Halt => "halt",
            Self::Reboot => "reboot",
            Self::Emergency => "emergency",
        })
    }
}

fn parse_accept(text: &str) -> Option<Vec<EvidenceKind>> {
    let mut kinds = Vec::new();
    for word in text.split(',') {
        let kind = match word.trim() {
            "note" => EvidenceKind::Note,
            "commit" => EvidenceKind::Commit,
            _ => return None,
        };
        if kinds.contains(&kind) {
            return None;
        }
        kinds.push(kind);
    }
    Some(kinds)
}

fn parse_threshold(text: &str) -> Option<usize> {
    let number = usize::try_from(parse_index(text)?).ok()?;
    (1..=SIGNATURES_MAX).contains(&number).then_some(number)
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => write!(f, "it is not plain UTF-8 text with newlines"),
            Self::Shape(line) => write!(f, "\"{line}\" is neither [SECTION] nor KEY = VALUE"),
            Self::NoSection(key) => {
                write!(f, "the key \"{key}\" stands before the first section, such as [seal]")
            }
            Self::UnknownSection(name) => {
                write!(f, "the section \"{name}\" is unknown, only [seal] and [tpm] are known")
            }
            Self::RepeatedSection(name) => write!(f, "[{name}] is there twice"),
            Self::UnknownKey(key) => {
                write!(
                    f,
                    "the key \"{key}\" is unknown; known are mode, product, accept, threshold, minimum-index, on-refusal in [seal] and measure, tpm in [tpm]"
                )
            }
            Self::RepeatedKey(key) => write!(f, "the key \"{key}\" is there twice"),
            Self::Mode(found) => write!(f, "mode must be sealed or unsealed, found \"{found}\""),
            Self::NoMode => write!(f, "[seal] must have mode = sealed or mode = unsealed, found no mode"),
            Self::Product(error) => write!(f, "{error}"),
            Self::Accept(found) => {
                write!(f, "accept must be note, commit or \"note, commit\", found \"{found}\"")
            }
            Self::Threshold(found) => {
                write!(f, "threshold must be a number from 1 to {SIGNATURES_MAX}, found \"{found}\"")
            }
            Self::MinimumIndex(found) => {
                write!(f, "minimum-index must be a decimal number below 2^64, found \"{found}\"")
            }
            Self::OnRefusal(found) => {
                write!(f, "on-refusal must be halt, reboot or emergency, found \"{found}\"")
            }
            Self::Measure(found) => {
                write!(f, "measure must be a PCR from {PCR_MIN} to {PCR_MAX}, found \"{found}\"")
            }
            Self::NoMeasure => write!(f, "[tpm] must have measure = PCR, found no measure"),
            Self::Tpm(found) => write!(f, "tpm must be required or optional, found \"{found}\""),
        }
    }
}

impl core::error::Error for ConfError {}
