use ed25519_dalek::{Signer as _, SigningKey};
use ostree::glib::variant::ToVariant as _;
use ostree::glib::{Variant, VariantDict};
use ostree_seal_trust::check;
use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::commit;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{CommitObject, Evidence, Subject};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::{Statement, signature_line};
use ostree_seal_trust::policy::{KeyFile, Policy, PolicyFiles, SealedPolicy};
use ostree_seal_trust::refusal::Refusal;
use ostree_seal_trust::vkey::Vkey;

pub const IMAGE: Digest = Digest([0x1a; 32]);
pub const COMMIT: CommitId = CommitId([0xc0; 32]);

/// A key pair that is the same in each run.
#[derive(Clone)]
pub struct Key {
    pub vkey: Vkey,
    pair: SigningKey,
}

impl Key {
    pub fn new(name: &str, seed: u8) -> Self {
        let pair = SigningKey::from_bytes(&[seed; 32]);
        Self { vkey: Vkey::new(name, pair.verifying_key().as_bytes()).unwrap(), pair }
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).to_bytes()
    }

    /// A signature line over a note's text.
    pub fn line(&self, text: &str) -> String {
        signature_line(self.vkey.id(), &self.sign(text.as_bytes()))
    }

    fn file(&self, directory: &str) -> KeyFile {
        let path = format!("{directory}/{}.vkey", self.vkey.id().name.replace('/', "-"));
        KeyFile { path, content: Ok(format!("{}\n", self.vkey).into_bytes()) }
    }
}

pub fn release() -> Key {
    Key::new("example.com/release", 1)
}

pub fn other() -> Key {
    Key::new("example.com/other", 2)
}

pub fn third() -> Key {
    Key::new("example.com/third", 3)
}

pub fn statement() -> Statement {
    Statement { product: "example.com/os".parse().unwrap(), image: IMAGE, index: 42, commit: Some(COMMIT) }
}

/// A note with this text, signed by these keys.
pub fn note(text: &str, keys: &[&Key]) -> String {
    keys.iter().fold(format!("{text}\n"), |note, key| note + &key.line(text))
}

/// A note that everything is right with.
pub fn good_note(keys: &[&Key]) -> String {
    note(&statement().to_string(), keys)
}

/// What the policy tests and the refusals start from.
#[derive(Clone)]
pub struct Trust {
    pub conf: String,
    pub trusted: Vec<KeyFile>,
    pub revoked: Vec<KeyFile>,
}

pub const CONF: &str = "[seal]\nmode = sealed\nproduct = example.com/os\naccept = note, commit\n";

impl Trust {
    pub fn new(conf: &str, trusted: &[&Key], revoked: &[&Key]) -> Self {
        Self {
            conf: conf.to_owned(),
            trusted: trusted.iter().map(|key| key.file("trusted.d")).collect(),
            revoked: revoked.iter().map(|key| key.file("revoked.d")).collect(),
        }
    }

    pub fn with_trusted_file(mut self, name: &str, content: &str) -> Self {
        self.trusted.insert(0, KeyFile { path: name.into(), content: Ok(content.into()) });
        self
    }

    pub fn load(&self) -> Result<Policy, Refusal> {
        let policy = Policy::parse(&PolicyFiles {
            path: "policy.conf".into(),
            conf: self.conf.clone().into_bytes(),
            trusted: self.trusted.clone(),
            revoked: self.revoked.clone(),
        })?;
        Ok(policy)
    }

    pub fn sealed(&self) -> SealedPolicy {
        match self.load().unwrap() {
            Policy::Sealed(policy) => policy,
            Policy::Unsealed(_) => panic!("the policy is unsealed"),
        }
    }
}

/// A policy that trusts these keys.
pub fn trusting(keys: &[&Key]) -> SealedPolicy {
    Trust::new(CONF, keys, &[]).sealed()
}

pub fn evidence(note: impl Into<Vec<u8>>) -> Evidence {
    Evidence { subject: Subject::Commit(COMMIT), note: Some(note.into()), commit: None, parent: None }
}

pub fn check(evidence: &Evidence, policy: &SealedPolicy) -> Result<Claim, Refusal> {
    check::check(IMAGE, evidence, policy).map(|proof| proof.claim().clone())
}

pub fn refusal(evidence: &Evidence, policy: &SealedPolicy) -> Refusal {
    check(evidence, policy).expect_err("the check should have refused")
}

/// A commit object made by GLib, as libostree makes it.
#[derive(Clone, Default)]
pub struct CommitMaker {
    pub digest: Option<Vec<u8>>,
    pub product: Option<String>,
    pub index: Option<u64>,
    pub container: bool,
    pub parent: Vec<u8>,
    pub subject: String,
    pub extra: Vec<(String, Variant)>,
}

impl CommitMaker {
    pub fn good() -> Self {
        Self {
            digest: Some(IMAGE.0.to_vec()),
            product: Some("example.com/os".to_owned()),
            index: Some(42),
            subject: "A release".to_owned(),
            ..Self::default()
        }
    }

    /// What bootc makes of a container image.
    pub fn import(parent: CommitId) -> Self {
        Self { container: true, parent: parent.0.to_vec(), ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let metadata = VariantDict::new(None);
        metadata.insert_value("version", &"42.1".to_variant());
        if let Some(digest) = &self.digest {
            metadata.insert_value(commit::KEY_DIGEST, &digest.to_variant());
        }
        if let Some(product) = &self.product {
            metadata.insert_value(commit::KEY_PRODUCT, &product.to_variant());
        }
        if let Some(index) = self.index {
            metadata.insert_value(commit::KEY_INDEX, &index.to_variant());
        }
        if self.container {
            metadata.insert_value("ostree.container.image-config", &"{}".to_variant());
        }
        for (key, value) in &self.extra {
            metadata.insert_value(key, value);
        }
        let related: Vec<(String, Vec<u8>)> = Vec::new();
        let members = [
            metadata.end(),
            self.parent.to_variant(),
            related.to_variant(),
            self.subject.to_variant(),
            "".to_variant(),
            1_700_000_000_u64.to_be().to_variant(),
            vec![7_u8; 32].to_variant(),
            vec![8_u8; 32].to_variant(),
        ];
        let commit = Variant::tuple_from_iter(members);
        assert_eq!(commit.type_().as_str(), "(a{sv}aya(say)sstayay)");
        commit.data().to_vec()
    }

    pub fn id(&self) -> CommitId {
        commit::id(&self.bytes())
    }

    /// The commit with detached metadata that holds these signatures.
    pub fn object(&self, signatures: &[Vec<u8>]) -> CommitObject {
        CommitObject { bytes: self.bytes(), detached: Some(detached(signatures)) }
    }

    /// The commit, signed by these keys.
    pub fn signed(&self, keys: &[&Key]) -> CommitObject {
        let bytes = self.bytes();
        let signatures: Vec<Vec<u8>> = keys.iter().map(|key| key.sign(&bytes).to_vec()).collect();
        self.object(&signatures)
    }

    /// Evidence for a deployment of this commit.
    pub fn evidence(&self, keys: &[&Key]) -> Evidence {
        commit_evidence(self.id(), self.signed(keys))
    }
}

pub fn commit_evidence(id: CommitId, object: CommitObject) -> Evidence {
    Evidence { subject: Subject::Commit(id), note: None, commit: Some(object), parent: None }
}

/// Detached metadata with these signatures, as ostree writes it.
pub fn detached(signatures: &[Vec<u8>]) -> Vec<u8> {
    let metadata = VariantDict::new(None);
    metadata.insert_value(commit::KEY_SIGNATURES, &signatures.to_variant());
    metadata.end().data().to_vec()
}
