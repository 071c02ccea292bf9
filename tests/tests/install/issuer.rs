//! The issuers of the overlays, as far as their tests are the same: cert-manager itself, and a fake of service-ca.

use anyhow::ensure;
use workflow_certs::CertInfo;
use workflow_tests::cert_manager::{CA, CAINJECTOR, CertManager, SERVING};

use crate::service_ca::{self, FakeServiceCa};

pub enum Issuer {
    CertManager(CertManager),
    ServiceCa(Box<FakeServiceCa>),
}

impl Issuer {
    /// The field manager that fills caBundle.
    pub fn manager(&self) -> &'static str {
        match self {
            Self::CertManager(_) => CAINJECTOR,
            Self::ServiceCa(_) => service_ca::MANAGER,
        }
    }

    /// Does what is requested now, if this is the fake; cert-manager runs by itself.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        match self {
            Self::CertManager(_) => Ok(()),
            Self::ServiceCa(fake) => fake.reconcile().await,
        }
    }

    /// Waits until there is a serving certificate.
    pub async fn until_issued(&self) -> anyhow::Result<()> {
        match self {
            Self::CertManager(running) => running.issued(SERVING).await.map(drop),
            Self::ServiceCa(fake) => fake.reconcile().await,
        }
    }

    /// Renews the CA, which keeps its key, then the serving certificate, and returns the latter.
    pub async fn renew(&mut self) -> anyhow::Result<CertInfo> {
        match self {
            Self::CertManager(running) => {
                let before = running.issued(CA).await?;
                let after = running.renew(CA).await?;
                ensure!(before.key == after.key, "the renewed CA has another key");
                let serving = running.renew(SERVING).await?;
                ensure!(serving.ca == after.ca, "the serving certificate is not of the renewed CA");
                Ok(serving.info)
            }
            Self::ServiceCa(fake) => fake.renew().await,
        }
    }

    /// Replaces the CA by one with another key and renews the serving certificate, which it returns. Not for the fake, as
    /// service-ca's own way to do that is not documented.
    pub async fn replace_ca(&self) -> anyhow::Result<Option<CertInfo>> {
        let Self::CertManager(running) = self else { return Ok(None) };
        let before = running.issued(CA).await?;
        let after = running.replace(CA).await?;
        ensure!(before.key != after.key, "the replaced CA has the same key");
        let serving = running.renew(SERVING).await?;
        ensure!(serving.ca == after.ca, "the serving certificate is not of the replaced CA");
        Ok(Some(serving.info))
    }

    /// The CA certificate of the latest serving certificate, as PEM.
    pub async fn bundle(&self) -> anyhow::Result<String> {
        match self {
            Self::CertManager(running) => Ok(running.issued(SERVING).await?.ca),
            Self::ServiceCa(fake) => Ok(fake.bundle().to_owned()),
        }
    }
}
