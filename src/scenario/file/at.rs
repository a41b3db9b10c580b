//! Values that know where they stood in the file, and values with a short form.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// A place in the file; lines and columns count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A value, and where it stood.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it began.
    pub position: Position,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

fn position<T>(spanned: &Spanned<T>) -> Position {
    let place = spanned.referenced;
    Position {
        line: usize::try_from(place.line()).unwrap_or(0),
        column: usize::try_from(place.column()).unwrap_or(0),
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            position: position(&spanned),
            value: spanned.value,
        })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub struct Several<T>(pub Vec<At<T>>);

impl<T> Deref for Several<T> {
    type Target = [At<T>];
    fn deref(&self) -> &[At<T>] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + std::str::FromStr> Deserialize<'de> for Several<T>
where
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Either<T>>::deserialize(deserializer)?;
        let at = position(&spanned);
        Ok(match spanned.value {
            Either::One(value) => Self(vec![At {
                value,
                position: at,
            }]),
            Either::Many(values) => Self(values),
        })
    }
}

/// A list with something in it.
fn listed<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut seq: A) -> Result<Vec<At<T>>, A::Error> {
    let mut all = Vec::new();
    while let Some(one) = seq.next_element()? {
        all.push(one);
    }
    match all.is_empty() {
        true => Err(A::Error::custom("an empty list: name at least one")),
        false => Ok(all),
    }
}

enum Either<T> {
    One(T),
    Many(Vec<At<T>>),
}

impl<'de, T: Deserialize<'de> + std::str::FromStr> Deserialize<'de> for Either<T>
where
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + std::str::FromStr> Visitor<'de> for Visit<T>
        where
            T::Err: fmt::Display,
        {
            type Value = Either<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Either<T>, E> {
                text.parse().map(Either::One).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Either<T>, A::Error> {
                listed(seq).map(Either::Many)
            }
        }
        deserializer.deserialize_any(Visit(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Several{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]
        })
    }
}

/// What is written as `T` in full, or as the `T::Word` in it that matters when that is all there is to say.
#[derive(Clone, Debug)]
pub struct Short<T>(pub T);

/// A mapping of which one word says enough.
pub trait Abridged {
    /// That word.
    type Word;
    /// Whether several of them do as well.
    const LISTS: bool = false;
    /// The whole of it, made of one word, or of several where that is allowed.
    fn of(words: Vec<At<Self::Word>>) -> Self;
}

impl<T> Deref for Short<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Abridged + Deserialize<'de>> Deserialize<'de> for Short<T>
where
    T::Word: std::str::FromStr<Err: fmt::Display> + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Form<T>>::deserialize(deserializer)?;
        let at = position(&spanned);
        Ok(Self(match spanned.value {
            Form::Word(value) => T::of(vec![At {
                value,
                position: at,
            }]),
            Form::Words(words) => T::of(words),
            Form::Full(full) => full,
        }))
    }
}

enum Form<T: Abridged> {
    Word(T::Word),
    Words(Vec<At<T::Word>>),
    Full(T),
}

impl<'de, T: Abridged + Deserialize<'de>> Deserialize<'de> for Form<T>
where
    T::Word: std::str::FromStr<Err: fmt::Display> + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'de, T: Abridged + Deserialize<'de>> Visitor<'de> for Visit<T>
        where
            T::Word: std::str::FromStr<Err: fmt::Display> + Deserialize<'de>,
        {
            type Value = Form<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match T::LISTS {
                    true => "a name, a list of names, or a mapping",
                    false => "a name or a mapping",
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Form<T>, A::Error> {
                if !T::LISTS {
                    return Err(A::Error::invalid_type(Unexpected::Seq, &self));
                }
                listed(seq).map(Form::Words)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Form<T>, E> {
                text.parse().map(Form::Word).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Form::Full)
            }
        }
        deserializer.deserialize_any(Visit(PhantomData))
    }
}

impl<T: Abridged<Word: JsonSchema> + JsonSchema> JsonSchema for Short<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Short{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<T::Word>();
        let full = generator.subschema_for::<T>();
        match T::LISTS {
            false => schemars::json_schema!({ "anyOf": [word, full] }),
            true => schemars::json_schema!({
                "anyOf": [word, {"type": "array", "items": word, "minItems": 1}, full]
            }),
        }
    }
}
