//! Mappings whose keys are matched without regard to case, as go-zero does.

use serde::de::{Deserialize, Error, MapAccess};

/// Implements `Deserialize` for a type with `Default`: each key that is named is read into its field, the others are passed over, and noted where there
/// is a field for that. A value that is null is as one that is not there.
macro_rules! any_case {
    ($type:ident { $($name:literal => $field:ident,)+ $(.. => $others:ident)? }) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a mapping with ", $($name, ", ",)+ "…"))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        let mut config = <$type>::default();
                        let mut seen = Vec::new();
                        while let Some(key) = map.next_key::<String>()? {
                            $(if key.eq_ignore_ascii_case($name) {
                                if let Some(value) = crate::config::keys::value(&mut map, &mut seen, $name)? {
                                    config.$field = value;
                                }
                                continue;
                            })+
                            $(config.$others.push(key);)?
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(config)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}

pub(super) use any_case;

/// The value of the field `name`, which is not there twice.
pub(super) fn value<'de, T, A>(
    map: &mut A,
    seen: &mut Vec<&'static str>,
    name: &'static str,
) -> Result<Option<T>, A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    if seen.contains(&name) {
        return Err(A::Error::custom(format_args!("{name} is there twice; case makes no difference")));
    }
    seen.push(name);
    map.next_value().map_err(|error| A::Error::custom(format_args!("{name}: {error}")))
}
