with

weeks as (

    select
        as_of_date,
        lag(as_of_date) over (order by as_of_date) as previous_as_of_date
    from (select distinct as_of_date from {{ ref('fct_segment_memberships') }})

),

final as (

    select
        coalesce(before.segment_id, 'NEW') as segment_before,
        now.segment_id as segment_after,
        count(*) as clients_count,
        coalesce(any_value(before.fit_date) <> any_value(now.fit_date), false) as is_refit,
        weeks.as_of_date
    from {{ ref('fct_segment_memberships') }} as now
    inner join weeks on now.as_of_date = weeks.as_of_date
    left join {{ ref('fct_segment_memberships') }} as before
        on now.client_id = before.client_id and weeks.previous_as_of_date = before.as_of_date
    where weeks.previous_as_of_date is not null
    group by weeks.as_of_date, segment_before, segment_after

)

select * from final
