//! Reads one source file: which paths of this crate it names, and who calls what in it.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

pub struct Source {
    /// From the package's root, as `src/vault/local.rs`.
    pub path: String,
    pub text: String,
    /// Whether the module is `#[cfg(test)]` where it is declared, in another file.
    pub is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (path, text) = (path.to_owned(), text.to_owned());
        Self {
            path,
            text,
            is_test: false,
        }
    }

    /// `src/vault/local.rs` is `vault::local`, `src/vault/mod.rs` is `vault`. An example is a crate
    /// of its own.
    pub fn module(&self) -> Vec<String> {
        let Some(inside) = self.path.strip_prefix("src/") else {
            return vec![];
        };
        let mut parts: Vec<_> = inside.strip_suffix(".rs").unwrap().split('/').collect();
        if parts.len() == 1 && ["lib", "main"].contains(&parts[0]) || parts.last() == Some(&"mod") {
            parts.pop();
        }
        parts.into_iter().map(str::to_owned).collect()
    }

    pub fn tokens(&self) -> Vec<String> {
        flatten(self.text.parse().unwrap())
    }

    pub fn scan(&self) -> Scan {
        let mut scan = Scan {
            in_tests: usize::from(self.is_test),
            module: self.module(),
            ..Scan::default()
        };
        scan.visit_file(&syn::parse_file(&self.text).unwrap());
        scan
    }
}

/// What the rules look for in one file.
#[derive(Default)]
pub struct Scan {
    module: Vec<String>,
    /// `Type` and `function` that the visitor is in.
    inside: Vec<String>,
    in_tests: usize,
    /// Paths of this crate, from its root.
    pub paths: BTreeSet<Vec<String>>,
    /// Functions that call `expose()`, tests aside.
    pub exposes: BTreeSet<String>,
    /// Modules that are for tests only and in files of their own.
    pub test_modules: BTreeSet<Vec<String>>,
    /// Functions that call `unwrap()` without arguments, tests aside.
    pub unwraps: BTreeSet<String>,
}

impl Scan {
    fn path(&mut self, segments: &[String]) {
        let mut absolute = match segments.first().map(String::as_str) {
            Some("crate") => vec![],
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(absolute.pop()),
                name => absolute.push(name.to_owned()),
            }
        }
        self.paths.insert(absolute);
    }

    fn use_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |last: &syn::Ident| [prefix, &[last.to_string()]].concat();
        match tree {
            syn::UseTree::Path(p) => self.use_tree(&with(&p.ident), &p.tree),
            syn::UseTree::Name(n) => self.path(&with(&n.ident)),
            syn::UseTree::Rename(r) => self.path(&with(&r.ident)),
            syn::UseTree::Glob(_) => self.path(&[prefix, &["*".to_owned()]].concat()),
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.use_tree(prefix, t)),
        }
    }

    fn called(&mut self, method: &str, arguments: bool) {
        let here = self.inside.join("::");
        match method {
            _ if self.in_tests > 0 => {}
            "expose" => drop(self.exposes.insert(here)),
            "unwrap" if !arguments => drop(self.unwraps.insert(here)),
            _ => {}
        }
    }

    /// A macro's tokens, which have no syntax tree.
    fn unparsed(&mut self, tokens: TokenStream) {
        let tokens = flatten(tokens);
        for (at, token) in tokens.iter().enumerate() {
            if ["crate", "self", "super"].contains(&token.as_str()) {
                let mut path = vec![token.clone()];
                let mut rest = &tokens[at + 1..];
                while let [a, b, name, ..] = rest
                    && a == ":"
                    && b == ":"
                {
                    path.push(name.clone());
                    rest = &rest[3..];
                }
                if path.len() > 1 {
                    self.path(&path);
                }
            }
            let before = at.checked_sub(1).map_or("", |b| &tokens[b]);
            if [".", ":"].contains(&before) {
                self.called(token, tokens.get(at + 2).is_none_or(|t| t != ")"));
            }
        }
    }

    fn nested(&mut self, name: String, attrs: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let test = attrs.iter().any(|a| {
            let text = flatten(match &a.meta {
                syn::Meta::List(list) => list.tokens.clone(),
                _ => TokenStream::new(),
            });
            a.path().is_ident("test") || a.path().is_ident("cfg") && text == ["test"]
        });
        self.in_tests += usize::from(test);
        self.inside.push(name);
        visit(self);
        self.inside.pop();
        self.in_tests -= usize::from(test);
    }
}

impl<'ast> Visit<'ast> for Scan {
    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        self.module.push(m.ident.to_string());
        self.nested(m.ident.to_string(), &m.attrs, |s| {
            if m.content.is_none() && s.in_tests > 0 {
                s.test_modules.insert(s.module.clone());
            }
            visit::visit_item_mod(s, m);
        });
        self.module.pop();
    }

    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        let name = match &*i.self_ty {
            syn::Type::Path(p) => p.path.segments.last().unwrap().ident.to_string(),
            _ => "_".to_owned(),
        };
        self.nested(name, &i.attrs, |s| visit::visit_item_impl(s, i));
    }

    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.nested(f.sig.ident.to_string(), &f.attrs, |s| {
            visit::visit_item_fn(s, f)
        });
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.nested(f.sig.ident.to_string(), &f.attrs, |s| {
            visit::visit_impl_item_fn(s, f)
        });
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        self.nested(f.sig.ident.to_string(), &f.attrs, |s| {
            visit::visit_trait_item_fn(s, f)
        });
    }

    fn visit_item_use(&mut self, u: &'ast syn::ItemUse) {
        self.use_tree(&[], &u.tree);
    }

    fn visit_path(&mut self, p: &'ast syn::Path) {
        let segments: Vec<_> = p.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.path(&segments);
            // `Secret::expose` as a value is a call waiting to happen.
            self.called(segments.last().unwrap(), true);
        }
        visit::visit_path(self, p);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.called(&call.method.to_string(), !call.args.is_empty());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, m: &'ast syn::Macro) {
        self.unparsed(m.tokens.clone());
        visit::visit_macro(self, m);
    }
}

fn flatten(tokens: TokenStream) -> Vec<String> {
    let mut flat = vec![];
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                flat.push(open.to_owned());
                flat.extend(flatten(group.stream()));
                flat.push(close.to_owned());
            }
            TokenTree::Literal(_) => flat.push("\"\"".to_owned()),
            other => flat.push(other.to_string()),
        }
    }
    flat
}
