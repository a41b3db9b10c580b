//! Find Blobs by Tags.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::resource::blob::{BlobPath, ContainerName, StorageAccount, TagQuery};

use super::fault::Fault;
use super::head::Head;
use super::list::limit;
use super::xml::Document;

pub(super) fn by_tags(
    name: &str,
    account: &StorageAccount,
    container: Option<&ContainerName>,
    head: &Head,
) -> Result<Vec<u8>, Fault> {
    let bad = |name: &str, why: &dyn std::fmt::Display| {
        let why = format!("The value of the query parameter {name} is invalid: {why}.");
        Fault::bad("InvalidQueryParameterValue", why)
    };
    let text = head.query("where")?.unwrap_or_default();
    let query = TagQuery::parse(text).map_err(|e| bad("where", &e))?;
    let limit = limit(head)?;
    let marker = head.query("marker")?.filter(|marker| !marker.is_empty());
    let from = |marker: &str| {
        let decoded = URL_SAFE_NO_PAD.decode(marker).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.and_then(|text| BlobPath::parse(&text))
    };
    let from = marker
        .map(|marker| from(marker).ok_or_else(|| bad("marker", &"none that was given")))
        .transpose()?;
    let found = account.find_by_tags(&query, container, from.as_ref(), limit + 1);
    let mut found = found.map_err(|e| Fault::of(&e, true, true))?;
    let next = found.get(limit).map(|(path, _)| path.to_string());
    found.truncate(limit);
    let endpoint = format!("https://{name}.blob.core.windows.net/");
    let mut document = Document::new();
    document.open_with("EnumerationResults", &[("ServiceEndpoint", &endpoint)]);
    document.text("Where", text);
    document.open("Blobs");
    for (path, tags) in &found {
        document.open("Blob");
        document.name(path.name.as_str());
        document.text("ContainerName", path.container.as_str());
        document.tags(tags);
        document.close("Blob");
    }
    document.close("Blobs");
    let next = next.map(|next| URL_SAFE_NO_PAD.encode(next));
    document.text("NextMarker", &next.unwrap_or_default());
    document.close("EnumerationResults");
    Ok(document.finish())
}
