//! What a state allows the page that it is to run: memory, output and steps of patterns.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::memory_limit::MemoryLimit;
use crate::request::visit::Visit;
use crate::settings::Limits;
use crate::state::State;

impl State {
    /// The time of a page begins.
    #[inline]
    pub(super) fn start_time(&self, visit: &mut Visit) {
        let slow_log = visit.settings.slow_log();
        if !slow_log.is_zero() {
            self.begin_slow_log(visit, slow_log);
        }
        match visit.limits.timeout {
            Duration::ZERO => self.limit.start_unlimited(),
            timeout => visit.deadline = Some(self.limit.start(timeout)),
        }
    }

    /// Allows the next page so many kilobytes beyond a fresh state, which held so many bytes if that is known; 0 is no limit.
    pub(super) fn limit_memory(&mut self, kilobytes: u32, fresh: Option<usize>) -> Result<(), Error> {
        let memory = match self.memory.take() {
            Some(memory) => Ok(memory),
            None => MemoryLimit::new(&self.lua, self.limit.handle(), fresh),
        };
        memory
            .and_then(|memory| self.memory.insert(memory).start(&self.lua, kilobytes))
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the memory limit could not be set: {error}")))
    }

    /// Makes ready for a page of these limits, all but the time.
    pub(super) fn set_limits(&mut self, limits: &Limits) -> Result<(), Error> {
        self.tell_limits(limits)?;
        self.limit_page_memory(limits.memory, 0)
    }

    /// Allows a page so many kilobytes, of which it is charged with so many bytes already.
    pub(super) fn limit_page_memory(&mut self, kilobytes: u32, charge: usize) -> Result<(), Error> {
        let beside_others = (self.guests() > 0).then_some(charge);
        match (kilobytes, &self.memory) {
            (0, None) => return Ok(()),
            (_, Some(memory)) => memory.charge(&self.lua, beside_others),
            (_, None) => {}
        }
        self.limit_memory(kilobytes, None)
    }

    /// Tells the state's own code the limits it keeps.
    pub(super) fn tell_limits(&mut self, limits: &Limits) -> Result<(), Error> {
        let told = (limits.output, limits.pattern);
        if told != self.told {
            self.calls
                .limit_page
                .call::<()>(told)
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            self.told = told;
        }
        Ok(())
    }
}
