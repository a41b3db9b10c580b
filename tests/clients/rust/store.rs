//! `object_store`, through which Rust's data tools (DataFusion, Polars, delta-rs) reach Azure's blobs, unmodified,
//! through the proxy. Run by tests/clients/main.rs under `atrest with`.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Certificate, ClientOptions, Error, GetOptions, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, UpdateVersion, WriteMultipart,
};

type Done = Result<(), Box<dyn std::error::Error>>;
type Store = Arc<dyn ObjectStore>;

fn of(mode: PutMode) -> PutOptions {
    PutOptions {
        mode,
        ..PutOptions::default()
    }
}

async fn get(store: &Store, name: &str) -> object_store::Result<Bytes> {
    store.get(&Path::from(name)).await?.bytes().await
}

async fn put_and_got(store: &Store) -> Done {
    for (name, len) in [("empty", 0), ("a b/ü", 3), ("large", 3 << 20)] {
        let data: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        let path = Path::from(name);
        store.put(&path, data.clone().into()).await?;
        assert_eq!(get(store, name).await?, data, "{name}");
        assert_eq!(store.head(&path).await?.size, u64::from(len));
    }
    let missing = get(store, "missing").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    Ok(())
}

async fn ranges(store: &Store) -> Done {
    let path = Path::from("ranges");
    store.put(&path, "0123456789".into()).await?;
    assert_eq!(store.get_range(&path, 2..5).await?, "234");
    let both = store.get_ranges(&path, &[0..1, 8..10]).await?;
    assert_eq!(both, ["0", "89"]);
    let rest = GetOptions {
        range: Some(object_store::GetRange::Offset(7)),
        ..GetOptions::default()
    };
    assert_eq!(store.get_opts(&path, rest).await?.bytes().await?, "789");
    Ok(())
}

async fn listed(store: &Store) -> Done {
    for name in ["list/a", "list/b", "list/c/d"] {
        store.put(&Path::from(name), name.into()).await?;
    }
    let prefix = Path::from("list");
    let mut found: Vec<_> = store.list(Some(&prefix)).map_ok(|o| o.location.to_string()).try_collect().await?;
    found.sort();
    assert_eq!(found, ["list/a", "list/b", "list/c/d"]);
    let level = store.list_with_delimiter(Some(&prefix)).await?;
    assert_eq!(level.common_prefixes, [Path::from("list/c")]);
    assert_eq!(level.objects.len(), 2);
    Ok(())
}

async fn conditions(store: &Store) -> Done {
    let path = Path::from("conditions");
    let made = store.put_opts(&path, "first".into(), of(PutMode::Create)).await?;
    let again = store.put_opts(&path, "second".into(), of(PutMode::Create)).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    let seen = UpdateVersion {
        e_tag: made.e_tag.clone(),
        version: None,
    };
    store.put_opts(&path, "third".into(), of(PutMode::Update(seen.clone()))).await?;
    let stale = store.put_opts(&path, "fourth".into(), of(PutMode::Update(seen))).await;
    assert!(matches!(stale, Err(Error::Precondition { .. })), "{stale:?}");
    assert_eq!(get(store, "conditions").await?, "third");
    let old = GetOptions {
        if_match: made.e_tag,
        ..GetOptions::default()
    };
    let refused = store.get_opts(&path, old).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })));
    Ok(())
}

async fn multipart(store: &Store) -> Done {
    let path = Path::from("multipart");
    let data: Vec<u8> = (0..12_u32 << 20).map(|n| (n / 7) as u8).collect();
    let mut parts = WriteMultipart::new(store.put_multipart(&path).await?);
    for piece in data.chunks(100_000) {
        parts.write(piece);
    }
    parts.finish().await?;
    assert_eq!(get(store, "multipart").await?, data);
    let mut given_up = store.put_multipart(&Path::from("given-up")).await?;
    given_up.put_part("data".into()).await?;
    given_up.abort().await?;
    let missing = get(store, "given-up").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    Ok(())
}

async fn copied(store: &Store) -> Done {
    let [from, to] = ["from", "to"].map(Path::from);
    store.put(&from, "data".into()).await?;
    store.copy(&from, &to).await?;
    let again = store.copy_if_not_exists(&from, &to).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(get(store, "to").await?, "data");
    Ok(())
}

/// In batches, as it always deletes.
async fn deleted(store: &Store) -> Done {
    let paths = ["deleted/a", "deleted/b", "deleted/ü"].map(Path::from);
    for path in &paths {
        store.put(path, "data".into()).await?;
    }
    let all = futures::stream::iter(paths.clone().map(Ok)).boxed();
    let gone: Vec<_> = store.delete_stream(all).try_collect().await?;
    assert_eq!(gone.len(), paths.len());
    for path in &paths {
        let missing = store.get(path).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    }
    Ok(())
}

async fn attributes(store: &Store) -> Done {
    let path = Path::from("attributes");
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "text/csv"),
        (Attribute::Metadata("team".into()), "payroll"),
    ]);
    let options = PutOptions {
        attributes: attributes.clone(),
        ..PutOptions::default()
    };
    store.put_opts(&path, "a,b".into(), options).await?;
    assert_eq!(store.get(&path).await?.attributes, attributes);
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let connection = std::env::var("AZURE_STORAGE_CONNECTION_STRING")?;
    let key = connection.split(';').find_map(|part| part.strip_prefix("AccountKey="));
    let pem = std::fs::read(std::env::var("SSL_CERT_FILE")?)?;
    let options = ClientOptions::new().with_root_certificate(Certificate::from_pem(&pem)?);
    let store = MicrosoftAzureBuilder::new()
        .with_account("documents")
        .with_access_key(key.unwrap())
        .with_container_name("default")
        .with_client_options(options)
        .with_proxy_url(std::env::var("HTTPS_PROXY")?)
        .build()?;
    let store: Store = Arc::new(store);
    put_and_got(&store).await?;
    println!("put_and_got ok");
    ranges(&store).await?;
    println!("ranges ok");
    listed(&store).await?;
    println!("listed ok");
    conditions(&store).await?;
    println!("conditions ok");
    multipart(&store).await?;
    println!("multipart ok");
    copied(&store).await?;
    println!("copied ok");
    attributes(&store).await?;
    println!("attributes ok");
    deleted(&store).await?;
    println!("deleted ok");
    Ok(())
}
