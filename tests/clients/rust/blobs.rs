//! Azure's own client library for blobs, unmodified and with its checks on, through the proxy. Run by
//! tests/clients/main.rs under `atrest with`.

use std::collections::HashMap;

use azure_core::http::{Etag, RequestContent, StatusCode, Url};
use azure_identity::ManagedIdentityCredential;
use azure_storage_blob::models::*;
use azure_storage_blob::{BlobContainerClient, BlobServiceClient};
use futures::TryStreamExt;

const ACCOUNT: &str = "https://documents.blob.core.windows.net/";

type Done = Result<(), Box<dyn std::error::Error>>;

fn refused<T>(result: azure_core::Result<T>, expected: StatusCode) {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => assert_eq!(error.http_status(), Some(expected), "{error}"),
    }
}

async fn upload(container: &BlobContainerClient, name: &str, data: &[u8]) -> Done {
    container
        .blob_client(name)
        .upload(RequestContent::from(data.to_vec()), None)
        .await?;
    Ok(())
}

async fn download(container: &BlobContainerClient, name: &str) -> azure_core::Result<Vec<u8>> {
    let found = container.blob_client(name).download(None).await?;
    Ok(found.body.collect().await?.into())
}

async fn uploaded_and_downloaded(container: &BlobContainerClient) -> Done {
    for (name, len) in [("empty", 0), ("a b/ü", 3), ("large", 9 << 20)] {
        let data: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        upload(container, name, &data).await?;
        assert!(container.blob_client(name).exists().await?);
        assert_eq!(download(container, name).await?, data, "{name}");
    }
    refused(download(container, "missing").await, StatusCode::NotFound);
    Ok(())
}

async fn range(container: &BlobContainerClient) -> Done {
    upload(container, "range", b"0123456789").await?;
    let options = BlobClientDownloadOptions {
        range: Some((2_usize..5).into()),
        ..Default::default()
    };
    let found = container.blob_client("range").download(Some(options)).await?;
    assert_eq!(&found.body.collect().await?[..], b"234");
    Ok(())
}

async fn blocks(container: &BlobContainerClient) -> Done {
    let blob = container.blob_client("blocks").block_blob_client();
    let parts: [(&[u8], &[u8]); 3] = [(b"1", b"one "), (b"2", b"two "), (b"3", b"three")];
    for (id, data) in parts {
        let body = RequestContent::from(data.to_vec());
        blob.stage_block(id, data.len() as u64, body, None).await?;
    }
    let latest = [b"3".to_vec(), b"1".to_vec(), b"2".to_vec()].to_vec();
    let list = BlockLookupList {
        latest: Some(latest),
        ..Default::default()
    };
    blob.commit_block_list(list.try_into()?, None).await?;
    assert_eq!(download(container, "blocks").await?, b"threeone two ");
    let list = blob.get_block_list(BlockListType::Committed, None).await?.into_model()?;
    let sizes: Vec<_> = list.committed_blocks.unwrap().iter().map(|b| b.size).collect();
    assert_eq!(sizes, [Some(5), Some(4), Some(4)]);
    Ok(())
}

async fn conditions(container: &BlobContainerClient) -> Done {
    let blob = container.blob_client("conditions");
    let only_new = || Some(BlockBlobClientUploadOptions::default().if_not_exists());
    let body = |text: &str| RequestContent::from(text.as_bytes().to_vec());
    blob.upload(body("first"), only_new()).await?;
    refused(blob.upload(body("second"), only_new()).await, StatusCode::Conflict);
    let stale = BlockBlobClientUploadOptions {
        if_match: Some(Etag::from("\"0x000000000000001\"")),
        ..Default::default()
    };
    refused(blob.upload(body("third"), Some(stale)).await, StatusCode::PreconditionFailed);
    assert_eq!(download(container, "conditions").await?, b"first");
    Ok(())
}

async fn metadata_and_tags(container: &BlobContainerClient) -> Done {
    upload(container, "said", b"data").await?;
    let blob = container.blob_client("said");
    let metadata = HashMap::from([("team".to_owned(), "payroll".to_owned())]);
    blob.set_metadata(&metadata, None).await?;
    let found = blob.get_properties(None).await?;
    assert_eq!(found.metadata()?, metadata);
    let tags = HashMap::from([("state".to_owned(), "approved".to_owned())]);
    blob.set_tags(BlobTags::from(tags.clone()).try_into()?, None).await?;
    let found: HashMap<_, _> = blob.get_tags(None).await?.into_model()?.into();
    assert_eq!(found, tags);
    Ok(())
}

async fn copied(container: &BlobContainerClient) -> Done {
    upload(container, "from", b"to be copied").await?;
    let source = container.blob_client("from");
    let to = container.blob_client("to").block_blob_client();
    let token = ManagedIdentityCredential::new(None)?;
    let token = azure_core::credentials::TokenCredential::get_token(
        &*token,
        &["https://storage.azure.com/.default"],
        None,
    )
    .await?;
    let options = BlockBlobClientUploadBlobFromUrlOptions {
        copy_source_authorization: Some(format!("Bearer {}", token.token.secret())),
        ..Default::default()
    };
    to.upload_blob_from_url(source.url().as_str().into(), Some(options)).await?;
    assert_eq!(download(container, "to").await?, b"to be copied");
    Ok(())
}

async fn listed_and_deleted(container: &BlobContainerClient) -> Done {
    for name in ["list/a", "list/b", "other"] {
        upload(container, name, name.as_bytes()).await?;
    }
    let list = || {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some("list/".into()),
            maxresults: Some(1),
            ..Default::default()
        };
        container.list_blobs(Some(options))
    };
    let found: Vec<_> = list()?.try_collect::<Vec<_>>().await?;
    let names: Vec<_> = found.into_iter().filter_map(|b| b.name).collect();
    assert_eq!(names, ["list/a", "list/b"]);
    container.blob_client("list/a").delete(None).await?;
    assert_eq!(list()?.try_collect::<Vec<_>>().await?.len(), 1);
    refused(container.blob_client("list/a").delete(None).await, StatusCode::NotFound);
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let credential = ManagedIdentityCredential::new(None)?;
    let service = BlobServiceClient::new(Url::parse(ACCOUNT)?, Some(credential), None)?;
    let container = service.blob_container_client("rust");
    container.create(None).await?;
    refused(container.create(None).await, StatusCode::Conflict);
    println!("containers ok");
    uploaded_and_downloaded(&container).await?;
    println!("uploaded_and_downloaded ok");
    range(&container).await?;
    println!("range ok");
    blocks(&container).await?;
    println!("blocks ok");
    conditions(&container).await?;
    println!("conditions ok");
    metadata_and_tags(&container).await?;
    println!("metadata_and_tags ok");
    copied(&container).await?;
    println!("copied ok");
    listed_and_deleted(&container).await?;
    println!("listed_and_deleted ok");
    container.delete(None).await?;
    println!("removed ok");
    Ok(())
}
