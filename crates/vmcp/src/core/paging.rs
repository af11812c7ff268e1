//! A list read page by page, within bounds: a backend may never stop to hand out pages.

use std::{collections::HashSet, fmt, io};

use rmcp::{ServiceError, model::PaginatedRequestParams};
use serde::Serialize;
use tokio::time::{Duration, Instant, timeout_at};

use super::failure::Failure;

/// The most items of one list.
pub(super) const MAX_ITEMS: usize = 10_000;

/// The most bytes of one list, as JSON, cursors included.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most pages of one list: a page may be empty and name a next one all the same.
pub(super) const MAX_PAGES: usize = 1_000;

/// Why a list was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Items,
    Bytes,
    Pages,
    /// A cursor or a page that was there before: the pages go round.
    Circle,
    /// A page that did not come in time, and was not the first.
    Late,
}

/// What was read of a list.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) items: Vec<T>,
    /// Items that could not be read, by name and why.
    pub(super) left_out: Vec<String>,
    pub(super) cut: Option<Cut>,
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) left_out: Vec<String>,
    pub(super) next: Option<String>,
}

/// The most items whose loss is told.
const MAX_LEFT_OUT: usize = 100;

/// Reads pages until there is none left, or a bound is reached: what was read until then counts.
/// All of them have the time `within`.
pub(super) async fn read<T, F>(
    within: Duration,
    page: impl FnMut(Option<PaginatedRequestParams>) -> F,
) -> Result<Read<T>, Failure>
where
    T: Serialize + PartialEq,
    F: Future<Output = Result<Page<T>, ServiceError>>,
{
    let mut read = Read {
        items: Vec::new(),
        left_out: Vec::new(),
        cut: None,
    };
    read.cut = fill(&mut read, within, page).await?;
    Ok(read)
}

/// Adds to `read`, and says why it has stopped before the end.
async fn fill<T, F>(
    read: &mut Read<T>,
    within: Duration,
    mut page: impl FnMut(Option<PaginatedRequestParams>) -> F,
) -> Result<Option<Cut>, Failure>
where
    T: Serialize + PartialEq,
    F: Future<Output = Result<Page<T>, ServiceError>>,
{
    let items = &mut read.items;
    let mut bytes = 0;
    // Where the page before the current one begins.
    let mut before = 0..0;
    let mut cursors = HashSet::new();
    let mut params = None;
    let deadline = Instant::now() + within;
    loop {
        let Ok(answered) = timeout_at(deadline, page(params)).await else {
            if cursors.is_empty() {
                return Err(Failure::Late(within));
            }
            return Ok(Some(Cut::Late));
        };
        let page = answered.map_err(Failure::of)?;
        let is_again = !before.is_empty() && page.items == items[before.clone()];
        if is_again {
            return Ok(Some(Cut::Circle));
        }
        let room = MAX_LEFT_OUT.saturating_sub(read.left_out.len());
        read.left_out.extend(page.left_out.into_iter().take(room));
        let begins = items.len();
        for item in page.items {
            bytes += size(&item);
            if items.len() == MAX_ITEMS {
                return Ok(Some(Cut::Items));
            }
            if bytes > MAX_BYTES {
                return Ok(Some(Cut::Bytes));
            }
            items.push(item);
        }
        before = begins..items.len();
        // Some write an empty one for none.
        let Some(next) = page.next.filter(|next| !next.is_empty()) else {
            return Ok(None);
        };
        bytes += next.len();
        let cut = if bytes > MAX_BYTES {
            Some(Cut::Bytes)
        } else if !cursors.insert(next.clone()) {
            Some(Cut::Circle)
        } else if cursors.len() == MAX_PAGES {
            Some(Cut::Pages)
        } else {
            None
        };
        if cut.is_some() {
            return Ok(cut);
        }
        params = Some(PaginatedRequestParams::default().with_cursor(Some(next)));
    }
}

/// Bytes as JSON.
fn size(item: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What came as JSON can be written as JSON.
    let _ = serde_json::to_writer(&mut count, item);
    count.0
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Items => write!(f, "more than {MAX_ITEMS} items"),
            Self::Bytes => write!(f, "more than {MAX_BYTES} bytes"),
            Self::Pages => write!(f, "more than {MAX_PAGES} pages"),
            Self::Circle => f.write_str("the same page or cursor twice"),
            Self::Late => f.write_str("pages that come too late"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Reads a list whose page `n` is `page(n)`, and says how many pages were asked for.
    async fn read_all(
        page: impl Fn(usize) -> (Vec<String>, Option<String>),
    ) -> (usize, Option<Cut>, usize) {
        let asked = Cell::new(0);
        let next = |params: Option<PaginatedRequestParams>| {
            let n = asked.replace(asked.get() + 1);
            assert_eq!(params.is_none(), n == 0, "the first page has no cursor");
            let (items, next) = page(n);
            let left_out = vec![n.to_string()];
            async move {
                Ok(Page {
                    items,
                    left_out,
                    next,
                })
            }
        };
        let read = read(Duration::from_mins(1), next).await.unwrap();
        assert!(read.left_out.len() <= MAX_LEFT_OUT);
        assert!(!read.left_out.is_empty());
        (read.items.len(), read.cut, asked.get())
    }

    /// No page is like another.
    fn items(n: usize, count: usize, bytes: usize) -> Vec<String> {
        vec![format!("{n}{}", "x".repeat(bytes)); count]
    }

    #[tokio::test]
    async fn all_pages_are_read() {
        let next = |n: usize| (n < 2).then(|| n.to_string());
        let read = read_all(|n| (items(n, 3, 1), next(n))).await;
        assert_eq!(read, (9, None, 3));
    }

    #[tokio::test]
    async fn a_list_without_end_is_cut_at_its_bounds_and_what_was_read_is_kept() {
        let next = |n: usize| Some(n.to_string());
        let many = read_all(|n| (items(n, 300, 1), next(n))).await;
        assert_eq!(many, (MAX_ITEMS, Some(Cut::Items), 34));

        let (kept, cut, pages) = read_all(|n| (items(n, 1, 1_000_000), next(n))).await;
        assert_eq!((kept, cut, pages), (16, Some(Cut::Bytes), 17));

        let empty = read_all(|n| (Vec::new(), next(n))).await;
        assert_eq!(empty, (0, Some(Cut::Pages), MAX_PAGES));

        let long = read_all(|n| (Vec::new(), Some(format!("{n}{}", "x".repeat(5_000_000))))).await;
        assert_eq!(long, (0, Some(Cut::Bytes), 4));
    }

    #[tokio::test]
    async fn a_cursor_that_was_there_before_ends_the_list() {
        let read = read_all(|n| (items(n, 1, 1), Some((n % 2).to_string()))).await;
        assert_eq!(read, (3, Some(Cut::Circle), 3));
    }

    #[tokio::test]
    async fn a_page_that_comes_again_is_not_shown_again() {
        let all = |_| items(0, 3, 1);
        let stuck = read_all(|n| (all(n), Some("x".to_owned()))).await;
        assert_eq!(stuck, (3, Some(Cut::Circle), 2));
        let always_new = read_all(|n| (all(n), Some(n.to_string()))).await;
        assert_eq!(always_new, (3, Some(Cut::Circle), 2));
        let empty = read_all(|n| (all(n), Some(String::new()))).await;
        assert_eq!(empty, (3, None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_comes_too_late_is_cut_and_one_that_does_not_come_fails() {
        let slow = |_| async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let n = fastrand::u64(..);
            Ok(Page {
                items: vec![n],
                left_out: Vec::new(),
                next: Some(n.to_string()),
            })
        };
        let slowly = read(Duration::from_secs(5), slow).await.unwrap();
        assert_eq!((slowly.items.len(), slowly.cut), (2, Some(Cut::Late)));
        let failure = read(Duration::from_secs(1), slow).await.unwrap_err();
        assert_eq!(failure.to_string(), "no answer within 1s");
    }
}
