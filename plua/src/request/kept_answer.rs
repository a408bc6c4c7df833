//! How the response to a request is kept for other visitors, and how one that was kept answers it.

use std::time::Duration;

use crate::exchange::{Answer, Charset, Exchange, Head, HeaderChange, KeptPlace};
use crate::kept::address::{Address, Letter};
use crate::kept::answer::{Given, KeptAnswer, PublicMark};
use crate::request::keeping::{Keeping, LONGEST, Step, Wish, header, is_personal, lead, lifetime, tag, target, vary};
use crate::request::visit::{NOT_MODIFIED, Visit};

impl Visit {
    /// From here on the response is for this visitor alone: it is not kept.
    pub fn never_keep(&mut self) {
        self.is_personal = true;
        self.keeping = None;
    }

    /// Has the response kept as the page wishes.
    ///
    /// # Errors
    /// What the page is told where the wish comes too late, or its headers are too many.
    pub fn keep_page(&mut self, wish: Wish) -> Result<Step, String> {
        if self.response.head_sent {
            return Err("plua.cachePage comes too late: the response is being sent".into());
        }
        for name in &wish.vary {
            self.response.change(HeaderChange::Add(b"Vary".to_vec(), name.clone()))?;
        }
        let place = match self.keeping.take() {
            Some(keeping) => Some(KeptPlace { making: keeping.making, ..keeping.place }),
            None => self.exchange.kept_place(),
        };
        let Some(mut place) = place.filter(|place| wish.is_for_users || !place.has_user) else { return Ok(Step::Not) };
        if self.is_personal || is_personal(&self.response.head) {
            return Ok(Step::Not);
        }
        let Some(target) = target(&*self.exchange, &place.address, wish.key.as_deref(), &self.response.head) else {
            return Ok(Step::Not);
        };
        let making = place.making.take().filter(|making| making.is_for(&target));
        self.keeping = Some(Keeping { place, wish, target, making, maker: None }.into());
        Ok(self.look_at_kept())
    }

    /// Looks again what has become of a page that waits for somebody else who makes it.
    pub fn look_at_kept(&mut self) -> Step {
        let Some(keeping) = &mut self.keeping else { return Step::Not };
        if keeping.making.is_some() {
            return Step::Makes;
        }
        let now = self.exchange.request().received;
        let Keeping { place, target, making, wish, maker } = &mut **keeping;
        let is_usable =
            |kept: &KeptAnswer<'_>| kept.file.to_bytes() == place.file && (kept.is_for_users() || !place.has_user);
        let look = |target: &mut Address| {
            let bytes = place.pages.copy(target.key(Letter::Page));
            let kept = bytes.as_deref().and_then(KeptAnswer::read).filter(is_usable);
            (kept.map(|kept| kept.is_fresh(now)), bytes)
        };
        let (mut is_fresh, mut bytes) = look(target);
        if is_fresh != Some(true) {
            *making = place.pages.begin_making(target);
            if making.is_some() {
                // Another may have made it, and given up the right, since it was looked at.
                (is_fresh, bytes) = look(target);
                if is_fresh != Some(true) {
                    return Step::Makes;
                }
                *making = None;
            }
        }
        if is_fresh.is_some() {
            // Next time the request's own address leads there.
            if !target.is(&place.address) {
                lead(place, wish, &vary(&self.response.head).unwrap_or_default());
            }
            self.kept = bytes;
            self.keeping = None;
            return Step::Kept;
        }
        // One who waited for a maker who kept nothing, and finds another one at work, waits no second time.
        let now = place.pages.maker(target);
        match maker {
            Some(before) if now.as_ref() != Some(before) => {
                self.keeping = None;
                Step::Not
            }
            Some(_) => Step::Waits,
            None => {
                // Gone since: the next look finds its page, or the right to make it.
                *maker = Some(now.unwrap_or_default());
                Step::Waits
            }
        }
    }

    /// Keeps the whole response with this body, if it still may be: what everybody gets. It is told its version where the page has
    /// told none.
    pub fn keep(&mut self, body: &[u8]) {
        let Some(keeping) = self.keeping.take() else { return };
        let head = &mut self.response.head;
        if self.is_personal || head.status != 200 || is_personal(head) || keeping.making.is_none() {
            return;
        }
        let Some(names) = vary(head) else { return };
        let Keeping { place, wish, .. } = *keeping;
        let Some(mut target) = target(&*self.exchange, &place.address, wish.key.as_deref(), head) else { return };
        if !head.says("ETag") {
            head.headers.push(HeaderChange::Set(b"ETag".to_vec(), tag(&head.content_type, body)));
        }
        let (content_type, is_charset_fixed) = self.exchange.full_content_type(head);
        let mark = if self.settings.quick() { self.exchange.public_mark() } else { PublicMark::default() };
        let headers: Vec<_> = head.headers.iter().filter_map(header).collect();
        let fresh = wish.seconds.is_finite().then(|| Duration::from_secs_f64(wish.seconds.min(LONGEST)));
        let given = Given {
            file: &place.file,
            content_type: &content_type,
            is_charset_fixed,
            headers: &headers,
            body,
            made: self.exchange.request().received,
            fresh,
            is_for_users: wish.is_for_users,
            mark,
        };
        if let Some(bytes) = given.bytes()
            && place.pages.keep(&mut target, &bytes, lifetime(&wish))
        {
            if !target.is(&place.address) {
                lead(&place, &wish, &names);
            }
            self.exchange.accept_ranges();
        }
    }
}

/// Answers a request with what was kept for it; none where those bytes are no answer.
pub fn answer(exchange: &mut dyn Exchange, bytes: &[u8]) -> Option<Answer> {
    let kept = KeptAnswer::read(bytes)?;
    let mut headers: Vec<_> = kept
        .headers()
        .map(|(name, value, is_more)| {
            let (name, value) = (name.to_bytes().to_vec(), value.to_bytes().to_vec());
            if is_more { HeaderChange::Add(name, value) } else { HeaderChange::Set(name, value) }
        })
        .collect();
    let age = kept.age(exchange.request().received);
    headers.push(HeaderChange::Set(b"Age".to_vec(), age.to_string().into_bytes()));
    let mut head = Head {
        status: 200,
        status_chosen: false,
        content_type: kept.content_type.to_bytes().to_vec().into(),
        charset: if kept.is_charset_fixed() { Charset::Unnamed } else { Charset::OfServer },
        headers,
    };
    let body = match exchange.condition(&head) {
        None => kept.body,
        Some(NOT_MODIFIED) => {
            head.status = NOT_MODIFIED;
            &[]
        }
        Some(status) => return Some(Answer::Status(status, head.for_another_body())),
    };
    exchange.accept_ranges();
    // A client that is gone needs no answer.
    let _ = exchange.respond(&head, body);
    Some(Answer::Sent)
}
